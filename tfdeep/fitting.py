"""What those who override `fit` have in common."""

from typing import Any

import keras
from keras import tree

DEFAULT_BATCH_SIZE = 32  # Of `keras.Model.fit`.


def callbacks_with(callbacks: Any, own: Any, model: keras.Model) -> Any:
    """The callbacks given to `fit`, and another one before them.

    Args:
        callbacks: a callback, a list of them, `None`, or a `CallbackList`,
            which keeps the callback and is returned.
        own: a callback. One of its class that is there already goes.
        model: the model that is trained.
    """
    if not isinstance(callbacks, keras.callbacks.CallbackList):
        return [own, *tree.flatten(callbacks or [])]
    own.set_model(model)
    others = [c for c in callbacks.callbacks if not isinstance(c, type(own))]
    callbacks.callbacks[:] = [own, *others]
    return callbacks
