"""Weights that another model needs, too.

A layer does not know who calls it, and the history of a symbolic tensor knows
no models. But every model that lives is an object that Python keeps track of,
and lists its weights.
"""

import gc
from collections.abc import Iterator
from typing import Any

import keras

from tfdeep.graph.parts import every_part
from tfdeep.keras_internals import keeps


def check_not_shared(model: keras.Model) -> None:
    """Raise if another network would be left half as it was.

    That is a model, neither within this one nor around it, that has some of
    its trainable weights and weights of other layers besides. A model of the
    same layers alone, such as one that returns activations, is not another
    network.
    """
    if _shared(model) is None:
        return
    gc.collect()  # It may be one that nobody holds any more.
    found = _shared(model)
    if found is not None:
        other, weight = found
        raise ValueError(
            f"The weight {weight!r} came shared with the model {other!r}, "
            "which has further weights. Half of that model would change. "
            "Share weights after initialization, or pass a clone."
        )


def _shared(model) -> tuple[str, str] | None:
    """The name of such a model and the path of such a weight."""
    changing = {id(v): v.path for v in model.trainable_weights}
    own = {id(v) for v in model.weights}
    parts = every_part(model)
    for other in gc.get_referrers(*_inheriting(keras.Model)):
        if not issubclass(type(other), keras.Model):
            continue
        if not getattr(other, "built", False):
            continue
        theirs = {id(v) for v in other.weights}
        common = [path for key, path in changing.items() if key in theirs]
        if not common or theirs <= own:
            continue
        within = any(part is other or keeps(part, other) for part in parts)
        around = any(layer is model for layer in every_part(other))
        if not (within or around):
            return other.name, common[0]
    return None


def _inheriting(kind: Any) -> Iterator[type]:
    """The class and all that inherit from it."""
    yield kind
    for each in kind.__subclasses__():
        yield from _inheriting(each)
