"""Memory of the layer tests."""

import keras
import pytest


@pytest.fixture(autouse=True, scope="module")
def forget_programs():
    """Free what JAX compiled for a file: gigabytes, over all files."""
    yield
    if keras.backend.backend() == "jax":
        import jax

        jax.clear_caches()
