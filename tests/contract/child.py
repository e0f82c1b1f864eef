"""What the contract's tests run in processes of their own.

    python -m tests.contract.child COMMAND FOLDER

A process that loads a model knows tfdeep's classes from `import tfdeep`
alone: what is imported here from the tests registers none.
"""

import json
import sys
from contextlib import nullcontext
from pathlib import Path

import keras
import numpy as np

from tests.contract.cases import CASES
from tests.contract.harness import BACKEND, FEW_STEPS
from tests.contract.together import (
    FEW,
    LAYERS,
    inputs_of,
    outputs_of,
    together,
    train_together,
    trains,
    weights_of,
)


def load(folder: Path) -> None:
    """Load all models of a folder; write outputs, and what trains."""
    if (folder / "all.keras").exists():
        model = keras.models.load_model(folder / "all.keras")
        names = list(CASES) if BACKEND == "tensorflow" else FEW
        outputs = outputs_of(model, names, inputs_of(names))
        np.savez(folder / "all.npz", **outputs)
    for path in sorted(folder.glob("frozen-*.keras")):
        result = trains(keras.models.load_model(path))
        path.with_suffix(".json").write_text(json.dumps(result))
    for file in sorted(folder.glob("*.input.npy")):
        path = file.with_name(file.name.replace(".input.npy", ".keras"))
        model, x = keras.models.load_model(path), np.load(file)
        y = model.predict(x, batch_size=len(x), verbose=0)
        np.save(path.with_suffix(".output.npy"), y)


def tied_by_einsum(folder: Path) -> None:
    """Train a private model whose base uses a table twice."""
    from tests.contract.test_wrappers import check_tied_embedding

    check_tied_embedding(einsum=True)


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
    settings = {name: CASES[name].alone for name in LAYERS}
    modes = {"alone": FEW_STEPS, "shared": {"jit_compile": BACKEND == "jax"}}
    for kind, context in (("alone", nullcontext), ("shared", scope)):
        with context():
            model = together(LAYERS, settings)
            optimizer = keras.optimizers.SGD(0.001, momentum=0.9)
            model.compile(optimizer, "mse", **modes[kind])
            train_together(model, LAYERS)
        for name in LAYERS:
            path = folder / f"{name}.{kind}.npz"
            np.savez(path, *weights_of(model, name))


if __name__ == "__main__":
    commands = {
        each.__name__: each
        for each in (load, tied_by_einsum, mirrored, parallel)
    }
    commands[sys.argv[1]](Path(sys.argv[2]))
