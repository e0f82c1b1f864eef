"""Double precision, where the backend has it."""

import keras
import pytest


@pytest.fixture
def double():
    """Float64 on TensorFlow, where an error of 1e-10 is an error."""
    if keras.backend.backend() != "tensorflow":
        yield
        return
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    yield
    keras.config.set_floatx("float32")
