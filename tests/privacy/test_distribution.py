"""Two devices that share a batch: the same sum, and noise once for both."""

import numpy as np
import pytest

from tests.helpers import close

DATA_PARALLEL = """
import os
os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=2"
import keras, numpy as np
from tfdeep.privacy import GaussianMechanism, PrivateModel
x = np.random.default_rng(0).normal(size=(16, 8)).astype("float32")
y = np.arange(16) % 3

def train(noise, weight=None):
    start = keras.initializers.GlorotUniform
    base = keras.Sequential([
        keras.Input((8,)),
        keras.layers.Dense(300, "tanh", kernel_initializer=start(1)),
        keras.layers.Dense(3, kernel_initializer=start(2)),
    ])
    before = base.get_weights()
    mechanism = GaussianMechanism(noise)
    model = PrivateModel(base, mechanism=mechanism, l2_norm_clip=0.5)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(1.0), loss)
    model.fit(
        x, y, batch_size=8, shuffle=False, verbose=0, sample_weight=weight
    )
    return [a - b for a, b in zip(base.get_weights(), before)]

alone = train(0.0)
keras.distribution.set_distribution(keras.distribution.DataParallel())
assert len(keras.distribution.list_devices()) == 2
for a, b in zip(train(0.0), alone, strict=True):
    np.testing.assert_allclose(a, b, 1e-4, 1e-6)
moved = np.concatenate([np.ravel(each) for each in train(1.0, np.zeros(16))])
np.testing.assert_allclose(np.std(moved), 2**0.5 * 0.5 / 8, rtol=0.05)
"""


def check_same(run, alone, atol=1e-6):
    """Assert that a run moved the weights as that on one device did."""
    assert run["updates"] == alone["updates"] == 2
    close(run["moved"], alone["moved"], 1e-4, atol)
    np.testing.assert_allclose(run["logs"]["loss"], alone["logs"]["loss"], 1e-4)
    close(run["state"], alone["state"], 1e-5, 0)


def check_noise(run):
    """Assert that two updates have the noise of two, the same on both."""
    moved = np.concatenate([np.ravel(each) for each in run["moved"]])
    # Of 3,603 weights: a deviation of what is measured is 1.2 %.
    np.testing.assert_allclose(np.std(moved), 2**0.5 / 8, rtol=0.06)
    for one, other in run["copies"]:
        np.testing.assert_array_equal(one, other)


@pytest.mark.tensorflow
@pytest.mark.slow
def test_replicas_train_as_one_device_with_noise_once(two_replicas):
    alone = two_replicas["alone"]
    assert 0.1 < alone["logs"]["clipped_fraction"][0] < 0.9
    check_same(two_replicas["shared"], alone)
    check_same(two_replicas["shared, sums of losses"], alone)
    check_noise(two_replicas["noise"])


@pytest.mark.tensorflow
@pytest.mark.slow
def test_a_row_too_many_on_one_device_is_one_on_all(two_replicas):
    """They agree: none of them uses its rows, and all count the same."""
    run = two_replicas["unequal"]
    assert run["counts"] == {
        "updates_taken": 0,
        "batches_seen": 3,
        "batches_refused": 3,
    }
    for each in run["moved"]:
        np.testing.assert_array_equal(each, 0.0)


@pytest.mark.tensorflow
@pytest.mark.slow
def test_a_wrong_engine_is_found_by_replicas_too(two_replicas):
    run = two_replicas["wrong rule"]
    assert "registered rule" in run["before"]
    assert "the whole model" in run["after"]
    (warning,) = run["warnings"]
    assert "from those of plain differentiation" in warning


@pytest.mark.tensorflow
@pytest.mark.slow
def test_a_batch_that_devices_cannot_share_is_refused(two_replicas):
    """By Keras itself only where its sums of unlike shapes fail."""
    assert "multiple of 2" in two_replicas["nine rows"]


@pytest.mark.jax
@pytest.mark.slow
def test_data_parallel_trains_as_one_device_with_noise_once(fresh_process):
    fresh_process(DATA_PARALLEL)
