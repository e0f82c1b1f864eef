"""A budget without an accountant, and models that the tests share."""

import os
import pickle
import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import layers

from tfdeep.privacy import PrivateModel


@pytest.fixture(autouse=True, scope="module")
def forget_programs():
    """Free what JAX compiled for a file."""
    yield
    if keras.backend.backend() == "jax":
        import jax

        jax.clear_caches()


@pytest.fixture(scope="session")
def two_replicas(request, tmp_path_factory):
    """What the module of this name found, in a process of its own."""
    path = tmp_path_factory.mktemp("replicas") / "runs"
    done = subprocess.run(
        [sys.executable, "-m", "tests.privacy.two_replicas", path],
        cwd=request.config.rootpath,
        env={**os.environ, "KERAS_BACKEND": "tensorflow"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return pickle.loads(path.read_bytes())


@keras.saving.register_keras_serializable(package="tests")
class Budget:
    """What the engine asks of a plan; epsilon is the number of updates."""

    def __init__(
        self,
        num_examples=32,
        batch_size=8,
        steps=100,
        noise_multiplier=1.0,
        sampling="shuffled",
    ):
        self.num_examples = num_examples
        self.batch_size = batch_size
        self.steps = steps
        self.noise_multiplier = noise_multiplier
        self.sampling = sampling

    def epsilon_after(self, steps):
        return float(steps)

    def epsilon_of_passes(self):
        return 99.0

    def get_config(self):
        return dict(vars(self))

    @classmethod
    def from_config(cls, config):
        return cls(**config)


@pytest.fixture
def budget():
    return Budget


@pytest.fixture
def data():
    """32 samples of 8 numbers and their classes, of three."""
    x = np.random.default_rng(0).normal(size=(32, 8)).astype("float32")
    return x, (np.arange(32) % 3).astype("int32")


@pytest.fixture
def private():
    """A maker of a compiled private model of two Dense layers."""

    def make(*more, optimizer=None, compiled=(), **arguments):
        stack = [
            layers.Dense(6, "tanh", kernel_initializer=_start(1)),
            *more,
            layers.Dense(3, kernel_initializer=_start(2)),
        ]
        base = keras.Sequential([keras.Input((8,)), *stack])
        model = PrivateModel(base, **arguments)
        model.compile(
            optimizer or keras.optimizers.SGD(0.1),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            **dict(compiled),
        )
        return model

    return make


def _start(seed):
    return keras.initializers.GlorotUniform(seed)
