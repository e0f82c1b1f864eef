"""Weights of a wrapper that an optimizer's weight decay leaves alone.

`Optimizer.exclude_from_weight_decay` forgets what was excluded before, and
cannot say what that was. This file alone reads it where Keras keeps it.
"""

import copy
from typing import Any

import keras

# By variable and by name.
EXCLUSIONS = (
    "_exclude_from_weight_decay",
    "_exclude_from_weight_decay_pattern",
)


def copy_exclusions(source: Any, target: Any) -> None:
    """Exclude from an optimizer's weight decay what another one excludes.

    A configuration does not say it.
    """
    source, target = _inner(source), _inner(target)
    for name in EXCLUSIONS:
        if hasattr(source, name):
            setattr(target, name, copy.copy(getattr(source, name)))


def exclude_from_weight_decay(optimizer: Any, variables: list) -> None:
    """Exclude further variables from an optimizer's weight decay.

    What its owner excluded stays so, by variable or by name; the optimizer
    may be built.
    """
    optimizer = _inner(optimizer)
    if not variables or not hasattr(optimizer, "exclude_from_weight_decay"):
        return
    try:
        keys = {optimizer._var_key(variable) for variable in variables}
    except AttributeError:
        # On TensorFlow weights have no key while other values stand for them:
        # the loss is asked for, but no step follows.
        return
    excluded = set(getattr(optimizer, "_exclude_from_weight_decay", ()))
    optimizer._exclude_from_weight_decay = excluded | keys
    optimizer._exclude_from_weight_decay_cache = {}


def _inner(optimizer):
    scales = isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
    return optimizer.inner_optimizer if scales else optimizer
