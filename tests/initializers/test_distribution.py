"""Starts of models whose weights lie on two devices."""

import pytest

CODE = """
import keras, numpy as np, tensorflow as tf
from tfdeep import AutoInit
from tfdeep.initializers import GradInit
(cpu,) = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(
    cpu, [tf.config.LogicalDeviceConfiguration()] * 2
)
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
x = np.random.default_rng(0).normal(size=(32, 8)).astype("float32")
y = np.arange(32) % 3
loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)

def net():
    he = keras.initializers.HeNormal
    return keras.Sequential([
        keras.Input((8,)),
        keras.layers.Dense(6, "relu", kernel_initializer=he(1)),
        keras.layers.Dense(3, kernel_initializer=he(2)),
    ])

def auto_init(model):
    return AutoInit(seed=0).initialize_model(model)

def grad_init(model):
    init = GradInit(iterations=3, seed=0, verbose=0)
    return init.initialize_model(model, (x, y), loss, batch_size=16)

def check(model, alone):
    for variable, expected in zip(model.weights, alone.weights, strict=True):
        copies = strategy.experimental_local_results(variable.value)
        assert len(copies) == 2
        for copy in copies:
            np.testing.assert_array_equal(copy, expected)

for start in (auto_init, grad_init):
    with strategy.scope():
        model = net()
    check(start(model), start(net()))

with strategy.scope():
    check(auto_init(net()), auto_init(net()))
    model = net()
    before = model.get_weights()
    try:
        grad_init(model)
    except RuntimeError as error:
        assert "call this after it" in str(error)
    else:
        raise AssertionError("not refused")
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
"""


@pytest.mark.tensorflow
@pytest.mark.slow
def test_all_replicas_start_as_one_device_would(fresh_process):
    fresh_process(CODE)
