"""Values that Keras must leave as they are."""

from typing import Any


class Untracked:
    """Holds a value in an attribute of a layer, model or optimizer.

    Keras looks into what is put there: layers and variables become its own,
    with their weights in its files, and lists and dictionaries become others,
    that it looks into as well. What is in here it does not see.

    Args:
        value: anything.

    Example:
        >>> import keras
        >>> layer, other = keras.layers.Dense(2), keras.layers.Dense(3)
        >>> layer.beside = Untracked([other])
        >>> other.build((None, 4))
        >>> layer.beside.value[0] is other, len(layer.weights)
        (True, 0)
    """

    __slots__ = ("value",)

    def __init__(self, value: Any = None):
        self.value = value
