"""Inputs that are looked up in a table, whatever dtype they are declared with.

Keras gives an `Input` its default float dtype, and an `Embedding` after it
casts what comes to integers. Random numbers for such an input must be integers
within the table.
"""

import numpy as np
from keras import layers, ops

TABLES = (layers.Embedding, layers.CategoryEncoding)
LOOKUPS = (*TABLES, layers.Hashing, layers.IntegerLookup)


class LookedUp(Exception):
    """An input that came as random numbers is looked up.

    Args:
        index: integer, which of the model's inputs.
        size: integer, of the table.
    """

    def __init__(self, index: int, size: int):
        super().__init__(index, size)
        self.index = index
        self.size = size


class NotInTable(ValueError):
    """What is looked up is in no table."""


def size_of(layer) -> int | None:
    """How many rows a layer's table has, if it takes their numbers."""
    if isinstance(layer, layers.Embedding):
        return layer.input_dim
    return getattr(layer, "num_tokens", None)


def is_lookup(layer, args, kwargs) -> bool:
    """Whether a call takes integers."""
    back = kwargs.get("reverse", args[1] if len(args) > 1 else False)
    reverse = isinstance(layer, layers.ReversibleEmbedding) and back
    return isinstance(layer, LOOKUPS) and not reverse


def check_ids(layer, x, source: int | None) -> None:
    """Raise if a layer is to look up what is in no table.

    Args:
        layer: the layer.
        x: tensor, what it gets.
        source: the number of the model's input that is made up and that x is,
            or `None`.

    Raises:
        LookedUp: if x is a random input, which can be drawn as integers.
        NotInTable: if it is anything else.
    """
    values, size = ops.convert_to_numpy(x), size_of(layer)
    if values.dtype.kind not in "fiu":
        return
    whole = np.all(values == np.floor(values))
    inside = size is None or np.all((values >= 0) & (values < size))
    if whole and inside:
        return
    if source is not None and size is not None:
        raise LookedUp(source, size)
    wanted = "integers" if size is None else f"integers from 0 to {size - 1}"
    raise NotInTable(
        f"Inputs of the look-up '{layer.name}' must be {wanted}. Received: "
        f"values from {values.min():.4g} to {values.max():.4g}. Take them from "
        "data: AutoInit.from_data(x), with integers as you pass them to fit."
    )
