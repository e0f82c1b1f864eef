"""Weights that an optimizer's weight decay leaves alone."""

from typing import Any

from tfdeep import keras_internals
from tfdeep.optimizers.wrapper import innermost


def copy_exclusions(source: Any, target: Any) -> None:
    """Exclude from an optimizer's weight decay what another one excludes."""
    keras_internals.copy_exclusions(innermost(source), innermost(target))


def exclude_from_weight_decay(optimizer: Any, variables: list) -> None:
    """Exclude further variables from an optimizer's weight decay.

    What its owner excluded stays so, by variable or by name; the optimizer
    may be built.
    """
    optimizer = innermost(optimizer)
    if not variables or not hasattr(optimizer, "exclude_from_weight_decay"):
        return
    try:
        keys = {keras_internals.key_of(optimizer, v) for v in variables}
    except AttributeError:
        # Other values stand for the weights: the loss is asked for, but no
        # step follows.
        return
    keras_internals.exclude(optimizer, keys)
