"""An optimizer of TF Privacy on two devices that share a batch."""

import pytest

MIRRORED = """
import keras, numpy as np, tensorflow as tf
from tfdeep.privacy import PrivateModel, tf_privacy
(cpu,) = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(
    cpu, [tf.config.LogicalDeviceConfiguration()] * 2
)
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
x = np.random.default_rng(0).normal(size=(16, 8)).astype("float32")
y = np.arange(16) % 3

def train(make, noise, weight=None, method="auto"):
    start = keras.initializers.GlorotUniform
    base = keras.Sequential([
        keras.Input((8,)),
        keras.layers.Dense(300, "tanh", kernel_initializer=start(1)),
        keras.layers.Dense(3, kernel_initializer=start(2)),
    ])
    before = base.get_weights()
    model = PrivateModel(base, method=method)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(make(0.5, noise, learning_rate=1.0), loss)
    model.fit(
        x, y, batch_size=8, shuffle=False, verbose=0, sample_weight=weight
    )
    assert model.count_of_updates() == 2
    return model, [a - b for a, b in zip(base.get_weights(), before)]

for name, method in (
    ("DPKerasSGDOptimizer", "auto"),
    ("DPKerasSGDOptimizer", "tf_privacy"),
    ("VectorizedDPKerasSGDOptimizer", "auto"),
):
    make = getattr(tf_privacy, name)
    with strategy.scope():
        _, shared = train(make, 0.0, method=method)
    _, alone = train(make, 0.0, method=method)
    for a, b in zip(shared, alone, strict=True):
        np.testing.assert_allclose(a, b, 1e-4, 1e-5)
    with strategy.scope():
        model, moved = train(make, 1.0, np.zeros(16), method)
        spread = np.std(np.concatenate([np.ravel(each) for each in moved]))
        np.testing.assert_allclose(spread, 2**0.5 * 0.5 / 8, rtol=0.05)
        for variable in model.base.trainable_variables:
            one, other = strategy.experimental_local_results(variable.value)
            np.testing.assert_array_equal(one.numpy(), other.numpy())
"""


@pytest.mark.slow
def test_replicas_train_as_one_device_with_noise_once(fresh_process):
    fresh_process(MIRRORED)
