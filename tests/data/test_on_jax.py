"""A process on JAX: what it loads, and what it trains on."""

import os
import subprocess
import sys
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from tfdeep.data import load

pytestmark = pytest.mark.slow
PROGRAM = """
import sys

def print_loaded():
    print({"tensorflow", "tensorflow_datasets"} & set(sys.modules))

import tfdeep
print_loaded()
import tfdeep.data
tfdeep.data.info("cifar10")
tfdeep.data.augmentation("cifar10")
print_loaded()
tfdeep.data.load("digits", as_numpy=True)
print_loaded()

import keras, numpy as np
from tfdeep.data import load

keras.utils.set_random_seed(7)
ds = load("digits", augment=True)
x = next(iter(ds))[0]
layers = [keras.layers.Flatten(), keras.layers.Dense(10)]
model = keras.Sequential(layers)
loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
model.compile("adam", loss)
losses = model.fit(ds, epochs=2, verbose=0).history["loss"]
print(losses[1] < losses[0])
print(float(np.asarray(x).sum()), flush=True)
"""


@pytest.fixture(scope="module")
def process():
    """What it printed."""
    pytest.importorskip("jax")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, "KERAS_BACKEND": "jax"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    names = ("imported", "named", "arrays", "fell", "total")
    printed = dict(zip(names, done.stdout.splitlines(), strict=True))
    return SimpleNamespace(**printed)


def test_importing_tfdeep_loads_no_other_backend(process):
    assert process.imported == "set()"


def test_data_sets_are_named_and_augmented_without_tensorflow(process):
    assert process.named == "set()"
    assert process.arrays == "set()"


def test_jax_trains_on_the_same_batches(process):
    assert process.fell == "True"
    keras.utils.set_random_seed(7)
    here = next(iter(load("digits", augment=True)))[0]
    assert float(process.total) == pytest.approx(float(np.sum(here)), rel=1e-4)
