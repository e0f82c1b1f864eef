"""Watching the layers that code calls, where nothing else shows them.

A model that cannot be traced, because its Python asks for values, says what it
calls only while it runs; so does a user's rule that calls the layers within
its layer by hand. Keras has no hook for that: `Operation.__call__` and
`Layer.__call__` are replaced meanwhile. This is the only place that relies on
how Keras dispatches calls.
"""

import contextlib
import contextvars
import dataclasses
import threading
from collections.abc import Callable, Iterator
from typing import Any

import keras

_LOCK = threading.Lock()
_USERS = 0  # How many want the calls to be replaced.
_ORIGINALS: dict[Any, Any] = {}


@dataclasses.dataclass
class _Watch:
    """Who is told of calls.

    Args:
        handler: as of `intercept`.
        but: the layer whose own call is no event.
        raised: what the handler has raised.
    """

    handler: Callable
    but: Any
    raised: list[Exception]


# Each thread has its own.
_WATCH: contextvars.ContextVar[_Watch | None] = contextvars.ContextVar(
    "watch", default=None
)


@contextlib.contextmanager
def intercept(handler: Callable, but: Any = None) -> Iterator[None]:
    """Send every call of a layer or operation of this thread to `handler`.

    While it runs, calls are none of its own: but those within `call`.

    Args:
        handler: `handler(operation, call, args, kwargs)`, which returns what
            the call returns; `call(*args, **kwargs)` makes the original.
            What it raises is raised in the end, whatever Keras makes of it.
        but: optional layer whose own call is made without the handler.
    """
    watch = _Watch(handler, but, [])
    try:
        with _replaced(), _watching(watch):
            yield
    except Exception:
        if not watch.raised:
            raise
        raise watch.raised[0] from None


@contextlib.contextmanager
def _watching(watch: _Watch | None) -> Iterator[None]:
    token = _WATCH.set(watch)
    try:
        yield
    finally:
        _WATCH.reset(token)


def unseen() -> contextlib.AbstractContextManager[None]:
    """Send calls to nobody."""
    return _watching(None)


@contextlib.contextmanager
def _replaced() -> Iterator[None]:
    """Replace the calls of all layers and operations, once for all users."""
    global _USERS
    with _LOCK:
        if not _USERS:
            for kind in (keras.layers.Layer, keras.Operation):
                _ORIGINALS[kind] = vars(kind)["__call__"]
            for kind, original in _ORIGINALS.items():
                kind.__call__ = _replacement(original)
        _USERS += 1
    try:
        yield
    finally:
        with _LOCK:
            _USERS -= 1
            if not _USERS:
                for kind, original in _ORIGINALS.items():
                    kind.__call__ = original


def _replacement(original: Callable) -> Callable:
    def __call__(self, *args, **kwargs):
        watch = _WATCH.get()
        # A layer's own goes through that of operations: one call, one event.
        if watch is None or self is watch.but:
            return original(self, *args, **kwargs)

        def call(*args, **kwargs):
            with _watching(dataclasses.replace(watch, but=self)):
                return original(self, *args, **kwargs)

        with unseen():
            try:
                return watch.handler(self, call, args, kwargs)
            except Exception as error:
                watch.raised.append(error)
                raise

    return __call__
