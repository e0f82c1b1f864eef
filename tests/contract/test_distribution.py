"""Two devices that share a batch train as one device does.

This holds where a sample's result depends on that sample alone; StochasticDepth
is not among the exceptions, because all replicas take one decision per step.
"""

import numpy as np
import pytest

from tests.contract.cases import CASES
from tests.contract.harness import run_child


def check(folder):
    """Compare what each case's weights became, alone and shared."""
    for name in CASES:
        alone = np.load(folder / f"{name}.alone.npz")
        shared = np.load(folder / f"{name}.shared.npz")
        assert alone.files == shared.files
        for key in alone.files:
            np.testing.assert_allclose(
                shared[key], alone[key], 1e-5, 1e-5, err_msg=f"{name} {key}"
            )


@pytest.mark.tensorflow
def test_mirrored_strategy(tmp_path):
    run_child("mirrored", tmp_path)
    check(tmp_path)


@pytest.mark.jax
def test_data_parallel(tmp_path):
    flags = "--xla_force_host_platform_device_count=2"
    run_child("parallel", tmp_path, flags)
    check(tmp_path)
