"""Two devices that share a batch train as one device does.

This holds where a sample's result depends on that sample alone; StochasticDepth
is not among the exceptions, because all replicas take one decision per step.
"""

import numpy as np
import pytest

from tests.contract.cases import CASES
from tests.contract.harness import (
    assert_all_close,
    needs_jax,
    needs_tensorflow,
    run_child,
)


@pytest.fixture(scope="module")
def mirrored(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mirrored")
    run_child("mirrored", folder)
    return folder


@pytest.fixture(scope="module")
def parallel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("parallel")
    flags = "--xla_force_host_platform_device_count=2"
    run_child("parallel", folder, xla_flags=flags)
    return folder


def check(folder, name):
    error = folder / f"{name}.error.txt"
    assert not error.exists(), error.read_text()
    alone = np.load(folder / f"{name}.alone.npz")
    shared = np.load(folder / f"{name}.shared.npz")
    assert alone.files == shared.files
    assert_all_close(shared.values(), alone.values(), 1e-5)


@needs_tensorflow
@pytest.mark.parametrize("name", CASES)
def test_mirrored_strategy(name, mirrored):
    check(mirrored, name)


@needs_jax
@pytest.mark.parametrize("name", CASES)
def test_data_parallel(name, parallel):
    check(parallel, name)
