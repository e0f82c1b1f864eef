"""Asking a private model the same question again.

Random layers draw other masks with each call. A question that is asked twice,
with one example changed, must meet the same masks: all state is put back.
"""

import math
from collections.abc import Callable

import keras
import numpy as np
from keras import ops, tree


class Probe:
    """Calls a private model, each time from the state it has now.

    Args:
        model: what has `clipped_sum(x, y, sample_weight)` and
            `per_example_norms(x, y, sample_weight)`: a `PrivateModel`.
    """

    def __init__(self, model):
        self._model = model
        self._variables = list(getattr(model, "non_trainable_variables", []))
        self._values = [ops.convert_to_numpy(v.value) for v in self._variables]

    def sums(self, x, y, weight=None) -> np.ndarray:
        """The clipped sum over a batch, as one vector."""
        found = self._ask(self._model.clipped_sum, x, y, weight)
        flat = [np.ravel(ops.convert_to_numpy(each)) for each in found]
        return np.concatenate(flat).astype("float64")

    def norms(self, x, y, weight=None) -> np.ndarray:
        """The norms of the examples' gradients, before the clip."""
        found = self._ask(self._model.per_example_norms, x, y, weight)
        return np.asarray(ops.convert_to_numpy(found), "float64")

    def _ask(self, question: Callable, x, y, weight):
        try:
            return question(x, y, weight)
        finally:
            for variable, value in zip(
                self._variables, self._values, strict=True
            ):
                variable.assign(value)


def sensitivity_of(model) -> float:
    """By how much the sum may move with one example, as the model claims."""
    clipping, mechanism = model.clipping, model.mechanism
    state = [each.value for each in model.mechanism_state]
    clip = mechanism.clip_norm(clipping.l2_norm_clip, state)
    bound = float(ops.convert_to_numpy(clipping.rescale(clip, clip)))
    if not math.isfinite(bound):
        raise ValueError(
            "The mechanism must say how far one example moves the sum, to "
            f"compare with. Received: {type(mechanism).__name__}, which does "
            "not. Pass `bound`."
        )
    return bound


def copied(model, **changes):
    """A private model with the same settings, some of them changed.

    Args:
        model: a `PrivateModel`.
        **changes: entries of its `get_config`.
    """
    parts = [model.base, *model.base.layers, model.clipping, model.mechanism]
    # What somebody wrote for one model need not be registered.
    known = {type(part).__name__: type(part) for part in parts}
    with keras.saving.custom_object_scope(known):
        return type(model).from_config({**model.get_config(), **changes})


def rows_of(x) -> int:
    """The size of a batch."""
    return len(tree.flatten(x)[0])


def replaced(x, row: int, value):
    """The batch with one row replaced, in each array."""

    def one(array, new):
        array = np.array(array)
        array[row] = new
        return array

    return tree.map_structure(one, x, value)


def row_of(x, row: int):
    """One example of a batch."""
    return tree.map_structure(lambda array: np.asarray(array)[row], x)


def loudest(x, factor: float):
    """An example that is far from all others; unchanged if of integers."""

    def one(array):
        array = np.asarray(array)
        floats = np.issubdtype(array.dtype, np.floating)
        return array * array.dtype.type(factor) if floats else array

    return tree.map_structure(one, x)


def spoiled(x):
    """An example of NaN, or `None` where all of it is integers."""
    leaves = [np.asarray(leaf) for leaf in tree.flatten(x)]
    if not any(np.issubdtype(leaf.dtype, np.floating) for leaf in leaves):
        return None
    return loudest(x, float("nan"))
