"""What data hold: real numbers, complex ones or text."""

import keras
import numpy as np


def kind_of(array: np.ndarray) -> str | None:
    """`"numbers"`, `"complex numbers"`, `"text"`, or `None` if neither."""
    name = array.dtype.name
    if array.dtype.kind in "biuf" or "float" in name:  # bfloat16 has kind V.
        return "numbers"
    if array.dtype.kind == "c":
        return "complex numbers"
    return "text" if is_text(array) else None


def is_text(array: np.ndarray) -> bool:
    """Whether it holds strings."""
    if array.dtype.kind in "SU":
        return True
    return array.dtype.kind == "O" and all(
        isinstance(value, (str, bytes)) for value in array.flat
    )


def check_kind(array: np.ndarray, spec: keras.KerasTensor) -> None:
    """Raise `ValueError` unless an input takes what an array holds."""
    dtype = keras.backend.standardize_dtype(spec.dtype)
    wanted = {"string": "text", "complex": "complex numbers"}.get(
        dtype.rstrip("0123456789"), "numbers"
    )
    kind = kind_of(array)
    # A real number is a complex one, too.
    if kind != wanted and (kind, wanted) != ("numbers", "complex numbers"):
        raise ValueError(
            f"`data` must fit the input '{spec.name}' of dtype {spec.dtype}. "
            f"Received: {kind}. Pass inputs as you pass them to fit."
        )
