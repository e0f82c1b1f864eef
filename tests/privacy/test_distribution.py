"""Two devices that share a batch: the same sum, and noise once for both."""

import pytest

MIRRORED = """
import keras, numpy as np, tensorflow as tf
from tfdeep.privacy import AdaptiveClipping, GaussianMechanism, PrivateModel
(cpu,) = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(
    cpu, [tf.config.LogicalDeviceConfiguration()] * 2
)
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
assert strategy.num_replicas_in_sync == 2
x = np.random.default_rng(0).normal(size=(16, 8)).astype("float32")
y = np.arange(16) % 3

def train(
    mechanism, rate=0.1, weight=None, reduction="sum_over_batch_size", clip=0.5
):
    start = keras.initializers.GlorotUniform
    base = keras.Sequential([
        keras.Input((8,)),
        keras.layers.Dense(300, "tanh", kernel_initializer=start(1)),
        keras.layers.Dense(3, kernel_initializer=start(2)),
    ])
    before = base.get_weights()
    model = PrivateModel(base, mechanism=mechanism, l2_norm_clip=clip)
    loss = keras.losses.SparseCategoricalCrossentropy(
        from_logits=True, reduction=reduction
    )
    model.compile(keras.optimizers.SGD(rate), loss)
    logs = model.fit(
        x, y, batch_size=8, shuffle=False, verbose=0, sample_weight=weight
    ).history
    assert model.count_of_updates() == 2
    moved = [a - b for a, b in zip(base.get_weights(), before)]
    return model, moved, logs

for make in (
    lambda: GaussianMechanism(0.0),
    lambda: AdaptiveClipping(noise_multiplier=0.0, batch_size=8),
):
    with strategy.scope():
        shared, moved, shared_logs = train(make())
    alone, expected, logs = train(make())
    for a, b in zip(moved, expected, strict=True):
        np.testing.assert_allclose(a, b, 1e-4, 1e-6)
    np.testing.assert_allclose(shared_logs["loss"], logs["loss"], 1e-4)
    for a, b in zip(shared.mechanism_state, alone.mechanism_state):
        np.testing.assert_allclose(a.numpy(), b.numpy(), 1e-5)

_, expected, logs = train(GaussianMechanism(0.0), clip=1e6)
for reduction in ("sum", "sum_over_batch_size"):
    with strategy.scope():
        _, moved, shared_logs = train(
            GaussianMechanism(0.0), reduction=reduction, clip=1e6
        )
    for a, b in zip(moved, expected, strict=True):
        np.testing.assert_allclose(a, b, 1e-4, 1e-6)
    np.testing.assert_allclose(shared_logs["loss"], logs["loss"], 1e-4)

with strategy.scope():
    model, moved, _ = train(GaussianMechanism(1.0), 1.0, np.zeros(16))
    spread = np.std(np.concatenate([np.ravel(each) for each in moved]))
    np.testing.assert_allclose(spread, 2**0.5 * 0.5 / 8, rtol=0.05)
    for variable in model.base.trainable_variables:
        one, other = strategy.experimental_local_results(variable.value)
        np.testing.assert_array_equal(one.numpy(), other.numpy())
"""

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


@pytest.mark.tensorflow
@pytest.mark.slow
def test_replicas_train_as_one_device_with_noise_once(fresh_process):
    fresh_process(MIRRORED)


@pytest.mark.jax
@pytest.mark.slow
def test_data_parallel_trains_as_one_device_with_noise_once(fresh_process):
    fresh_process(DATA_PARALLEL)
