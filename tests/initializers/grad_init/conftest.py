"""The precision of the tests against exact figures."""

import keras
import pytest

from tests.helpers import double_precision


@pytest.fixture
def float64():
    """Double precision, on JAX for as long as the test runs."""
    before = keras.config.floatx()
    with double_precision():
        keras.config.set_floatx("float64")
        try:
            yield
        finally:
            keras.config.set_floatx(before)
