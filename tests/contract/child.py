"""What the contract's tests run in processes of their own.

    python -m tests.contract.child COMMAND FOLDER

A process that loads a model knows tfdeep's classes from `import tfdeep`
alone: what is imported here from the tests registers none.
"""

import sys
from contextlib import nullcontext
from pathlib import Path

import keras
import numpy as np

import tfdeep  # noqa: F401
from tests.contract.cases import CASES
from tests.contract.harness import images, infer, model_of, train, values


def predict(folder: Path) -> None:
    """Load each model of a folder and write its output."""
    for path in sorted(folder.glob("*.keras")):
        model = keras.models.load_model(path)
        x = np.load(path.with_suffix(".input.npy"))
        np.save(path.with_suffix(".output.npy"), infer(model, x))


def mirrored(folder: Path) -> None:
    """Train on one CPU and on two virtual CPUs under TensorFlow."""
    import tensorflow as tf

    (cpu,) = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(
        cpu, [tf.config.LogicalDeviceConfiguration()] * 2
    )
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    assert strategy.num_replicas_in_sync == 2
    compare(folder, strategy.scope)


def parallel(folder: Path) -> None:
    """Train on one CPU and on two virtual CPUs under JAX."""
    devices = keras.distribution.list_devices("cpu")
    assert len(devices) == 2
    distribution = keras.distribution.DataParallel(devices=devices)
    compare(folder, distribution.scope)


def compare(folder: Path, scope) -> None:
    """Write each case's weights after training alone and inside `scope`."""
    for name, case in CASES.items():
        x = images(name, 8)
        for kind, context in (("alone", nullcontext), ("shared", scope)):
            with context():
                model = model_of(name, **case.alone)
                train(model, x, batch_size=4)
            np.savez(folder / f"{name}.{kind}.npz", *values(model))


if __name__ == "__main__":
    commands = {each.__name__: each for each in (predict, mirrored, parallel)}
    commands[sys.argv[1]](Path(sys.argv[2]))
