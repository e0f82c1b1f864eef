"""Watching every layer and operation that a model calls.

Keras has no hook for this.  A forward pass in which `Operation.__call__` and
`Layer.__call__` are replaced sees each call in order, with its tensors,
whatever kind of model makes it: Functional, Sequential, nested or subclassed.
This is the only place that relies on how Keras dispatches calls.
"""

import contextlib
import threading

import keras

_LOCK = threading.RLock()


@contextlib.contextmanager
def intercept(handler):
    """Send every call of a layer or operation of this thread to `handler`.

    Args:
        handler: `handler(operation, call, args, kwargs)`, which returns what
            the call returns; `call(*args, **kwargs)` makes the original.
    """
    owner = threading.get_ident()
    # A Layer's own __call__ goes through that of Operation: one call, one
    # event, and what runs within `call` is seen again.
    inside = []

    def replacement(original):
        def __call__(self, *args, **kwargs):
            if threading.get_ident() != owner or self in inside[-1:]:
                return original(self, *args, **kwargs)

            def call(*args, **kwargs):
                inside.append(self)
                try:
                    return original(self, *args, **kwargs)
                finally:
                    inside.pop()

            return handler(self, call, args, kwargs)

        return __call__

    with _LOCK:
        classes = (keras.layers.Layer, keras.Operation)
        originals = [vars(kind)["__call__"] for kind in classes]
        for kind, original in zip(classes, originals, strict=True):
            kind.__call__ = replacement(original)
        try:
            yield
        finally:
            for kind, original in zip(classes, originals, strict=True):
                kind.__call__ = original
