"""TF Privacy, imported without the parts that TensorFlow no longer carries.

Its package imports estimators, which TensorFlow 2.16 removed, unless `sys`
has an attribute that it looks for. The attribute is there during the import
and gone after it.
"""

import contextlib
import importlib
import sys
import threading
import warnings
from collections.abc import Iterator
from types import ModuleType

import keras

_SWITCH = "skip_tf_privacy_import"
_LOCK = threading.RLock()


def submodule(path: str) -> ModuleType:
    """Import a module of TF Privacy, such as `"dp_query.gaussian_query"`.

    Args:
        path: the module, below `tensorflow_privacy.privacy`.

    Raises:
        ImportError: if Keras runs on another backend than TensorFlow, or TF
            Privacy or a package it needs is not installed.
    """
    check_backend()
    name = f"tensorflow_privacy.privacy.{path}"
    try:
        with _LOCK, _without_estimators(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(
            f"`{name}` could not be imported: {error}. "
            "`tfdeep.privacy.tf_privacy` uses tensorflow-privacy 0.9.0 with "
            "tensorflow 2.20 or newer, on Python 3.11. Install both with "
            "`pip install 'tfdeep[privacy]'`."
        ) from error


def check_backend() -> None:
    """Raise `ImportError` unless Keras runs on TensorFlow."""
    backend = keras.backend.backend()
    if backend != "tensorflow":
        raise ImportError(
            f"TF Privacy was asked for on the {backend} backend. Its code is "
            "written in TensorFlow. Set KERAS_BACKEND=tensorflow, or use "
            "`tfdeep.privacy.PrivateModel` with an ordinary optimizer."
        )


@contextlib.contextmanager
def _without_estimators() -> Iterator[None]:
    """Let TF Privacy's package import nothing by itself, for a while."""
    if hasattr(sys, _SWITCH):
        yield
        return
    setattr(sys, _SWITCH, True)
    try:
        yield
    finally:
        delattr(sys, _SWITCH)
