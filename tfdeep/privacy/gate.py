"""What stands before each private update, however it is called.

`fit` and `train_on_batch` are asked before anything is computed: what depends
on arguments is known there. A step that is called by somebody's own loop, or
traced into somebody's own program, is asked while it is traced; and whatever
depends on counts and rows is asked by the program itself, at each batch.
"""

import math
from typing import Any

from keras import tree

from tfdeep import backend
from tfdeep.fitting import DEFAULT_BATCH_SIZE
from tfdeep.privacy.per_example.purity import NotPrivateError
from tfdeep.privacy.sampling import PoissonBatches, rows_of_batch, take_sample


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
    # Another class could give other batches under the same name.
    marked = x.plan if type(x) is PoissonBatches else None
    if plan.sampling == "poisson":
        _check_poisson(plan, marked, accumulation)
        return
    if marked is not None:
        raise NotPrivateError(
            "Batches must be shuffled ones, which the plan is about: the "
            "guarantees differ. Received: Poisson batches. Pass arrays, or "
            "make the plan with sampling='poisson'."
        )
    _check_shuffled(plan, x, arguments, accumulation)


def check_shared(arguments: dict[str, Any], devices: int) -> None:
    """Raise `ValueError` if `fit` would give devices unlike parts of a batch.

    Keras cannot begin with these, whatever the model.

    Args:
        arguments: those of `fit`.
        devices: how many share a batch.
    """
    arrays = [a for a in tree.flatten(arguments.get("x")) if a is not None]
    if not arrays or not all(hasattr(a, "shape") for a in arrays):
        return
    size = arguments.get("batch_size") or DEFAULT_BATCH_SIZE
    rows = min(size, arrays[0].shape[0])
    if rows % devices:
        raise ValueError(
            f"A batch must have as many rows for each of the {devices} devices "
            f"that share it. Received: batches of {rows} rows. Pass a "
            f"`batch_size` that is a multiple of {devices}."
        )


def check_batch(plan, x, y, sample_weight, accumulation: int) -> None:
    """Raise `NotPrivateError` if a single batch is not as planned.

    Args:
        plan: a `Plan`, or `None`.
        x: the inputs of the batch.
        y: its targets.
        sample_weight: its weights, or `None`.
        accumulation: how many batches the optimizer takes for one update.
    """
    if plan is None:
        return
    check_step(plan, x, sample_weight, accumulation)
    if plan.sampling == "poisson":
        take_sample(plan, (x, y, sample_weight))
        return
    rows, most = rows_of(x), plan.batch_size // accumulation
    if rows is not None and rows > most:
        raise NotPrivateError(
            f"A batch must have at most {most} rows, or an example is in more "
            f"updates than the plan accounts for. Received: {rows} rows. Pass "
            "fewer, or make a plan for these."
        )


def check_step(plan, x, sample_weight, accumulation: int) -> None:
    """Raise `NotPrivateError` if a step can be no update of the plan.

    It is asked while a step is traced, when numbers are not known; see
    `check_batch`.
    """
    if plan is None or plan.sampling != "poisson":
        return
    check_whole_samples(accumulation)
    if sample_weight is None:
        raise NotPrivateError(
            "A batch must have sample weights, as the plan accounts for "
            "Poisson samples, whose padding has weight 0. Received: a batch "
            "without weights. Pass the three "
            "parts of a batch of tfdeep.privacy.poisson_batches, or make "
            "the plan with sampling='shuffled'."
        )
    rows, wanted = rows_of(x), rows_of_batch(plan)
    if rows is not None and rows * backend.replica_count() % wanted:
        raise NotPrivateError(
            f"A batch must have the {wanted} rows of a padded Poisson sample "
            f"over all devices, or a multiple of them. Received: {rows} rows. "
            "Pass the batches of tfdeep.privacy.poisson_batches, or make the "
            "plan with sampling='shuffled'."
        )


def most_rows(plan, accumulation: int) -> int | None:
    """The most rows that a batch may have; `None` where any number may."""
    if plan is None or plan.sampling == "poisson":
        return None
    return plan.batch_size // accumulation


def rows_of(x) -> int | None:
    """The size of a batch; `None` where it is not known."""
    return next(a.shape[0] for a in tree.flatten(x) if a is not None)


def check_whole_samples(accumulation: int) -> None:
    """Raise `NotPrivateError` if a Poisson sample would be part of an update."""
    if accumulation > 1:
        raise NotPrivateError(
            "A Poisson sample is one whole update, and must not be a part of "
            "several. Received: an optimizer with "
            f"gradient_accumulation_steps={accumulation}. Leave it out, and "
            "use `microbatch_size`."
        )


def _check_poisson(plan, marked, accumulation):
    if marked is None:
        raise NotPrivateError(
            "Batches must be Poisson samples, which the plan accounts for: "
            "on shuffled data its epsilon would be too low. Received: "
            "ordinary batches. Pass tfdeep.privacy.poisson_batches(x, y, "
            "plan), or make the plan with sampling='shuffled'."
        )
    if marked.get_config() != plan.get_config():
        raise NotPrivateError(
            f"Batches must be of the plan of the model, {plan.get_config()}, "
            "or the noise is not that of the sampling. Received: batches of "
            f"{marked.get_config()}. Make both with the same plan."
        )
    check_whole_samples(accumulation)


def _check_shuffled(plan, x, arguments, accumulation):
    arrays = [a for a in tree.flatten(x) if a is not None]
    if not arrays or not all(hasattr(a, "shape") for a in arrays):
        _check_stream(plan, x, arguments, accumulation)
        return
    if backend.process_count() > 1:
        raise NotPrivateError(
            "Arrays must be shuffled in common, and Keras shuffles in each "
            "process by itself: examples would be twice in an epoch, or in an "
            f"update. Received: arrays in {backend.process_count()} processes. "
            "Pass poisson_batches(x, y, plan), "
            "which draws in common, or each process's own part of the data as "
            "a stream."
        )
    if arguments.get("shuffle", True) not in (True, 1):  # "batch" cuts first.
        raise NotPrivateError(
            "Arrays must be shuffled, as the plan accounts for batches in "
            "random order: in the order of the data its epsilon would be "
            f"{plan.epsilon_of_passes():.4g}. Received: "
            f"shuffle={arguments['shuffle']!r}. Leave `shuffle` out."
        )
    split = arguments.get("validation_split") or 0.0
    examples = math.floor(arrays[0].shape[0] * (1.0 - split))
    if examples != plan.num_examples:
        raise NotPrivateError(
            f"The training data must be the {plan.num_examples} examples of "
            "the plan. The accounting depends on their number, and "
            f"`validation_split` changes it. Received: {examples} training "
            "examples. Make a plan for these."
        )
    size = arguments.get("batch_size") or DEFAULT_BATCH_SIZE
    if size * accumulation != plan.batch_size:
        raise NotPrivateError(
            f"Updates must be of {plan.batch_size} examples, as the plan "
            f"says, or the noise does not fit. Received: batches of {size}, "
            f"{accumulation} to an update. Pass `batch_size` to match."
        )


def _check_stream(plan, x, arguments, accumulation):
    """Of a stream the number of batches is known, if anything is."""
    if arguments.get("steps_per_epoch") is not None:
        return
    try:
        found = len(x)
    except TypeError:  # Without end, or not known.
        return
    fitting = plan.num_examples * accumulation / plan.batch_size
    if found not in (math.floor(fitting), math.ceil(fitting)):
        raise NotPrivateError(
            f"The data must be that of the plan: {plan.num_examples} examples "
            f"in updates of {plan.batch_size}. The accounting depends on "
            f"their number. Received: a stream of {found} batches. Make a "
            "plan for these."
        )
