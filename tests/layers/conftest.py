"""Memory of the layer tests."""

import keras
import pytest

from tests.helpers import double_precision


@pytest.fixture(autouse=True, scope="module")
def forget_programs():
    """Free what JAX compiled for a file: gigabytes, over all files."""
    yield
    if keras.backend.backend() == "jax":
        import jax

        jax.clear_caches()


@pytest.fixture
def float64():
    """Keras in float64, on JAX too."""
    with double_precision():
        before = keras.config.floatx()
        keras.config.set_floatx("float64")
        keras.config.set_dtype_policy("float64")
        yield
        keras.config.set_floatx(before)
