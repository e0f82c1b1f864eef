"""Models that the tests of the wrappers share, and memory."""

import keras
import numpy as np
import pytest
from keras import layers


@pytest.fixture(autouse=True, scope="module")
def forget_programs():
    """Free what JAX compiled for a file: gigabytes, over all files."""
    yield
    if keras.backend.backend() == "jax":
        import jax

        jax.clear_caches()


@pytest.fixture
def data():
    """32 samples of 8 numbers and their classes, of three."""
    x = np.random.default_rng(0).normal(size=(32, 8)).astype("float32")
    return x, (np.arange(32) % 3).astype("int32")


@pytest.fixture
def net():
    """A maker of a chain of Dense layers with ReLU, logits of 3 classes."""

    def make(depth=3, width=6, activation="relu"):
        hidden = [
            layers.Dense(
                width,
                activation,
                kernel_initializer=keras.initializers.HeNormal(index),
                bias_initializer=keras.initializers.RandomNormal(seed=index),
                name=f"hidden_{index}",
            )
            for index in range(depth)
        ]
        last = keras.initializers.GlorotUniform(0)
        parts = [*hidden, layers.Dense(3, kernel_initializer=last, name="out")]
        return keras.Sequential([keras.Input((8,)), *parts])

    return make


@pytest.fixture
def crossentropy():
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)
