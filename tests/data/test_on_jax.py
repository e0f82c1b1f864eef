"""A process on JAX: what it loads, what it trains on, and how it may die."""

import os
import signal
import subprocess
import sys
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from tfdeep.data import load

pytestmark = pytest.mark.slow
PROGRAM = """
import os, signal, sys

def print_loaded():
    print({"tensorflow", "tensorflow_datasets"} & set(sys.modules))

import tfdeep
print_loaded()
import tfdeep.data
tfdeep.data.info("cifar10")
tfdeep.data.augmentation("cifar10")
print_loaded()

import keras, numpy as np
from tfdeep.data import load

keras.utils.set_random_seed(7)
ds = load("digits", augment=True, data_dir=sys.argv[1])
x = next(iter(ds))[0]
layers = [keras.layers.Flatten(), keras.layers.Dense(10)]
model = keras.Sequential(layers)
loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
model.compile("adam", loss)
losses = model.fit(ds, epochs=2, verbose=0).history["loss"]
print(losses[1] < losses[0])
print(float(np.asarray(x).sum()), flush=True)

from tfdeep.data.digits import Digits
whole = Digits._generate_examples

def dies(self, *args):
    for n, example in enumerate(whole(self, *args)):
        if n == 50:
            os.kill(os.getpid(), signal.SIGKILL)
        yield example

Digits._generate_examples = dies
load("digits", data_dir=sys.argv[2])
"""


@pytest.fixture(scope="module")
def process(data_dir, tmp_path_factory):
    """What it printed, and the folder in which it was killed."""
    pytest.importorskip("jax")
    load("digits", data_dir=data_dir)
    folder = tmp_path_factory.mktemp("killed")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, data_dir, str(folder)],
        env={**os.environ, "KERAS_BACKEND": "jax"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    names = ("imported", "named", "fell", "total")
    printed = dict(zip(names, done.stdout.splitlines(), strict=True))
    return SimpleNamespace(**printed, folder=folder / "digits")


def test_importing_tfdeep_loads_no_other_backend(process):
    assert process.imported == "set()"


def test_data_sets_are_named_and_augmented_without_tensorflow(process):
    assert process.named == "set()"


def test_jax_trains_on_the_same_batches(process, data_dir):
    assert process.fell == "True"
    keras.utils.set_random_seed(7)
    here = next(iter(load("digits", augment=True, data_dir=data_dir)))[0]
    assert float(process.total) == pytest.approx(float(np.sum(here)), rel=1e-4)


def test_a_killed_preparation_leaves_nothing_half_written(process, data_dir):
    """The next one begins from nothing, and its splits are the same."""
    inside = {path.name for path in process.folder.iterdir()}
    assert "1.0.0" not in inside
    assert any(name.startswith("incomplete.") for name in inside)
    for split in ("train", "validation", "test"):
        again, once = (
            load("digits", split, as_numpy=True, data_dir=folder)
            for folder in (str(process.folder.parent), data_dir)
        )
        for ours, theirs in zip(again, once, strict=True):
            np.testing.assert_array_equal(ours, theirs)
    inside = {path.name for path in process.folder.iterdir()}
    assert inside == {"1.0.0", ".lock"}
