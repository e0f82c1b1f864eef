"""Two devices that share a batch, on which entropies are not the same."""

import pytest

CODE = """
import keras, numpy as np, tensorflow as tf
from tfdeep import BatchEntropyRegularizer
(cpu,) = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(
    cpu, [tf.config.LogicalDeviceConfiguration()] * 2
)
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
assert strategy.num_replicas_in_sync == 2
x = np.random.default_rng(0).normal(size=(16, 8)).astype("float32")
y = np.arange(16) % 3

def train():
    he = keras.initializers.HeNormal
    hidden = [
        keras.layers.Dense(6, "relu", kernel_initializer=he(i), name=f"h{i}")
        for i in range(3)
    ]
    last = keras.layers.Dense(3, kernel_initializer=he(9), name="out")
    model = keras.Sequential([keras.Input((8,)), *hidden, last])
    wrapper = BatchEntropyRegularizer(model, beta=0.0)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    wrapper.compile(keras.optimizers.SGD(0.1), loss)
    fitted = wrapper.fit(x, y, batch_size=8, shuffle=False, verbose=0)
    return model.get_weights(), fitted.history

with strategy.scope():
    shared, shared_logs = train()
alone, logs = train()
for a, b in zip(shared, alone, strict=True):
    np.testing.assert_allclose(a, b, 1e-4, 1e-6)
np.testing.assert_allclose(shared_logs["task_loss"], logs["task_loss"], 1e-4)
np.testing.assert_allclose(shared_logs["loss"], logs["loss"], 1e-4)
"""


@pytest.mark.tensorflow
@pytest.mark.slow
def test_without_strength_replicas_train_as_one_device(fresh_process):
    fresh_process(CODE)
