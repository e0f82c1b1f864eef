"""What `Repeat` refuses, and why."""

import keras

from tfdeep.checks import check_probability
from tfdeep.keras_internals import layers_of


def check_survival(probabilities, count: int, layer) -> None:
    """Raise `ValueError` unless there is a probability for each copy."""
    if probabilities is None:
        return
    if getattr(layer, "shortcut_option", None) == "none":
        raise ValueError(
            "`survival_probabilities` must be None for a block with "
            "shortcut='none': a dropped branch needs a shortcut to carry the "
            f"signal. Received: the block '{layer.name}'. Use shortcut 'A', "
            "'B' or 'C'."
        )
    probabilities = list(probabilities)
    if len(probabilities) != count:
        raise ValueError(
            "`survival_probabilities` must have a value for each of the "
            f"{count} copies. Received: {len(probabilities)} values. Pass for "
            f"example tfdeep.layers.linear_survival({count})."
        )
    for probability in probabilities:
        check_probability("survival_probabilities", probability)


def check_kept(layer, outputs, inputs, owner: str = "Repeat") -> None:
    """Raise `ValueError` unless a layer's output can be its next input."""
    if not isinstance(outputs, keras.KerasTensor):
        raise ValueError(
            f"The layer '{layer.name}' must return a single tensor, which the "
            "next copy takes. Received: several outputs. Wrap it so that it "
            "returns one."
        )
    if outputs.shape != inputs.shape or outputs.dtype != inputs.dtype:
        raise ValueError(
            f"The layer '{layer.name}' must keep shape and dtype, as each "
            "copy takes what the one before returns. Received: an output of "
            f"shape {tuple(outputs.shape)} and dtype {outputs.dtype} for an "
            f"input of shape {tuple(inputs.shape)} and dtype {inputs.dtype}. "
            f"Put what changes them before or after {owner}."
        )
    if layer.metrics_variables:
        raise ValueError(
            f"The layer '{layer.name}' must have no metrics within {owner}: "
            "their updates inside a loop would be lost. Received: a layer "
            "with metrics. Measure outside of it."
        )


def check_losses(layer, losses, owner: str = "Repeat") -> None:
    """Raise `ValueError` if a call has added losses."""
    if losses:
        raise ValueError(
            f"The layer '{layer.name}' must hand on outputs alone within "
            f"{owner}. Received: a loss that it adds in each call, by "
            "`add_loss` or an activity regularizer. Take the loss out of the "
            "layer, or use plain layers."
        )


def check_python_state(before: dict, after: dict) -> None:
    """Raise `ValueError` if calls have changed attributes.

    A loop is traced once: what Python counts would count once.
    """
    changed = [key for key in after if after[key] != before.get(key)]
    if changed:
        _, name, attribute = changed[0]
        raise ValueError(
            f"The layer '{name}' must keep its state in weights: all copies "
            "share one object, and a compiled step runs no Python. Received: "
            f"a Python attribute `{attribute}` that its call changes. Use "
            "add_weight(trainable=False)."
        )


def python_state(layer) -> dict:
    """The plain values that a layer's parts keep in attributes."""
    found = {}
    for index, part in enumerate(layers_of(layer)):
        for name, value in vars(part).items():
            if isinstance(value, (list, dict, set)):
                value = len(value)
            if isinstance(value, (bool, int, float, complex, str, tuple)):
                if not name.startswith("_"):
                    found[index, part.name, name] = value
    return found
