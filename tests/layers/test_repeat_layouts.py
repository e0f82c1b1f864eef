"""Stacked weights that are split over devices, on JAX.

    python -m tests.layers.test_repeat_layouts FILE

trains the same model alone and split, and writes the weights of both.
"""

import os
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers

from tests.helpers import arrays, images
from tfdeep.layers import Repeat

ROOT = Path(__file__).resolve().parents[2]
FLAGS = "--xla_force_host_platform_device_count=2"


@pytest.mark.jax
@pytest.mark.parametrize("recompute", [False, True])
def test_split_kernels_train_as_whole_ones(tmp_path, recompute):
    path = tmp_path / "weights.npz"
    module = "tests.layers.test_repeat_layouts"
    subprocess.run(
        [sys.executable, "-m", module, str(path), str(int(recompute))],
        env={**os.environ, "KERAS_BACKEND": "jax", "XLA_FLAGS": FLAGS},
        cwd=ROOT,
        check=True,
    )
    found = np.load(path)
    assert found["parts"].tolist() == [3, 8, 4]
    alone, split = (
        [found[key] for key in sorted(found.files) if key.startswith(kind)]
        for kind in ("alone", "split")
    )
    assert len(alone) == len(split) > 4
    for one, other in zip(alone, split, strict=True):
        np.testing.assert_allclose(one, other, 1e-5, 1e-6)


def split_by_outputs():
    """Two devices, each with half of the output units of every kernel."""
    devices = keras.distribution.list_devices("cpu")
    mesh = keras.distribution.DeviceMesh((1, 2), ("batch", "model"), devices)
    layout = keras.distribution.LayoutMap(mesh)
    layout[".*kernel"] = (None, None, "model")
    return keras.distribution.ModelParallel(
        layout_map=layout, batch_dim_name="batch"
    )


def trained(recompute):
    """A repeated block after an epoch."""
    keras.utils.set_random_seed(0)
    block = keras.Sequential(
        [layers.Dense(8, "tanh"), layers.BatchNormalization()]
    )
    repeated = Repeat(block, 3, [1.0, 0.8, 0.6], recompute, seed=1)
    model = keras.Sequential([keras.Input((8,)), repeated])
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), "mse")
    x = images(8, 8)
    model.fit(x, x[:, ::-1], 4, epochs=2, verbose=0, shuffle=False)
    return repeated


def main(path, recompute):
    results = {}
    distribution = split_by_outputs()
    for kind, scope in (("alone", nullcontext), ("split", distribution.scope)):
        with scope():
            repeated = trained(recompute=bool(int(recompute)))
        for index, value in enumerate(arrays(repeated.variables)):
            results[f"{kind}.{index}"] = value
    (kernel,) = (v for v in repeated.weights if "kernel" in v.path)
    results["parts"] = kernel.value.addressable_shards[0].data.shape
    np.savez(path, **results)


if __name__ == "__main__":
    main(*sys.argv[1:])
