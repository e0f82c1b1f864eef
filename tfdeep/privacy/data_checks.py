"""Whether the data that `fit` gets are those that the plan is about."""

import math
from typing import Any

from keras import tree

from tfdeep.privacy.per_example.purity import NotPrivateError
from tfdeep.training.watch import DEFAULT_BATCH_SIZE


def check_data(plan, arguments: dict[str, Any], accumulation: int) -> None:
    """Raise `NotPrivateError` if `fit` came with data of another kind.

    Args:
        plan: a `Plan`, or `None`.
        arguments: those of `fit`.
        accumulation: how many batches the optimizer takes for one update.
    """
    if plan is None:
        return
    x = arguments.get("x")
    marked = getattr(x, "plan", None)
    if plan.sampling == "poisson":
        _check_poisson(plan, marked, accumulation)
        return
    if marked is not None:
        raise NotPrivateError(
            "`fit` came with Poisson batches, and the plan is about shuffled "
            "ones. Their guarantees differ. Pass arrays, or make the plan "
            "with sampling='poisson'."
        )
    _check_shuffled(plan, x, arguments, accumulation)


def _check_poisson(plan, marked, accumulation):
    if marked is None:
        raise NotPrivateError(
            "`fit` came with ordinary batches, and the plan accounts for "
            "Poisson samples. On shuffled data its epsilon would be too low. "
            "Pass tfdeep.privacy.poisson_batches(x, y, plan), or make the plan "
            "with sampling='shuffled'."
        )
    if marked.get_config() != plan.get_config():
        raise NotPrivateError(
            f"`fit` came with batches of another plan: {marked.get_config()}, "
            f"where the model has {plan.get_config()}. The noise would not be "
            "that of the sampling. Make both with the same plan."
        )
    if accumulation > 1:
        raise NotPrivateError(
            "The optimizer came with gradient accumulation, and the data with "
            "Poisson samples. A sample is one whole update. Leave "
            "`gradient_accumulation_steps` out, and use `microbatch_size`."
        )


def _check_shuffled(plan, x, arguments, accumulation):
    arrays = [a for a in tree.flatten(x) if a is not None]
    if not arrays or not all(hasattr(a, "shape") for a in arrays):
        return  # Of a stream neither number is known.
    split = arguments.get("validation_split") or 0.0
    examples = math.floor(arrays[0].shape[0] * (1.0 - split))
    if examples != plan.num_examples:
        raise NotPrivateError(
            f"`fit` came with {examples} training examples, and the plan is "
            f"about {plan.num_examples}. The accounting depends on their "
            "number, and `validation_split` changes it. Make a plan for these."
        )
    size = arguments.get("batch_size") or DEFAULT_BATCH_SIZE
    if size * accumulation != plan.batch_size:
        raise NotPrivateError(
            f"`fit` came with batches of {size}, {accumulation} to an update, "
            f"and the plan is about updates of {plan.batch_size}. The noise "
            "would not fit. Pass `batch_size` to match."
        )
