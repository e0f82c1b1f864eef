"""Two devices that share a batch: the run of one device.

On TensorFlow entropies are those of each device, and count for nothing here.
"""

import keras
import pytest

TRAIN = """
import keras, numpy as np
from tfdeep import BatchEntropyRegularizer
from tfdeep.training import DeepSupervision, Head, RelayBackpropagation
x = np.random.default_rng(0).normal(size=(16, 8)).astype("float32")
y = np.arange(16) % 3

def train(wrap, **mode):
    he = keras.initializers.HeNormal
    hidden = [
        keras.layers.Dense(6, "relu", kernel_initializer=he(i), name=f"h{i}")
        for i in range(3)
    ]
    last = keras.layers.Dense(3, kernel_initializer=he(9), name="out")
    model = keras.Sequential([keras.Input((8,)), *hidden, last])
    keras.utils.set_random_seed(3)
    wrapper = wrap(model)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    wrapper.compile(keras.optimizers.SGD(0.1), loss, **mode)
    fitted = wrapper.fit(x, y, batch_size=8, shuffle=False, verbose=0)
    return model.get_weights(), fitted.history
"""

CODE = """
import tensorflow as tf
(cpu,) = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(
    cpu, [tf.config.LogicalDeviceConfiguration()] * 2
)
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
assert strategy.num_replicas_in_sync == 2
def heads(*names):
    return {name: Head(alpha=0.5, schedule="decay") for name in names}

WRAPPERS = [
    lambda model: BatchEntropyRegularizer(model, beta=0.0),
    lambda model: DeepSupervision(model, heads("h0", "h1")),
    lambda model: RelayBackpropagation(model, heads("h0", "h1")),
]
for wrap in WRAPPERS:
    with strategy.scope():
        shared, shared_logs = train(wrap, jit_compile=False)
    alone, logs = train(wrap, run_eagerly=True)
    for a, b in zip(shared, alone, strict=True):
        np.testing.assert_allclose(a, b, 1e-4, 1e-6)
    assert shared_logs.keys() == logs.keys()
    for key in logs:
        if not key.startswith("batch_entropy"):
            np.testing.assert_allclose(shared_logs[key], logs[key], 1e-4)
"""


@pytest.mark.tensorflow
@pytest.mark.slow
def test_replicas_train_as_one_device(fresh_process):
    fresh_process(TRAIN + CODE)


FLAGS = """
import os
os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=2"
"""
JAX_CODE = """
import jax
assert len(jax.devices()) == 2
WRAPPERS = [
    lambda model: BatchEntropyRegularizer(model, alpha=1.0, beta=0.5),
    lambda model: DeepSupervision(model, {"h1": Head()}),
    lambda model: RelayBackpropagation(model, {"h1": Head()}),
]
alone = [train(wrap) for wrap in WRAPPERS]
keras.distribution.set_distribution(keras.distribution.DataParallel())
for wrap, (weights, logs) in zip(WRAPPERS, alone, strict=True):
    shared, shared_logs = train(wrap)
    for a, b in zip(shared, weights, strict=True):
        np.testing.assert_allclose(a, b, 1e-4, 1e-6)
    for key in logs:
        np.testing.assert_allclose(shared_logs[key], logs[key], 1e-4)
"""


@pytest.mark.slow
@pytest.mark.skipif(
    keras.backend.backend() != "jax", reason="DataParallel is of JAX."
)
def test_entropies_of_a_shared_batch_are_those_of_the_whole(fresh_process):
    fresh_process(FLAGS + TRAIN + JAX_CODE)
