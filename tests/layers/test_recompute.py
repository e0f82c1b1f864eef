"""A recomputed layer does what the layer does."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from tests.helpers import (
    BACKEND,
    Probe,
    close,
    copy_weights,
    flat,
    gradients,
    images,
    kept_bytes,
    training_step,
)
from tfdeep.layers import Recompute
from tfdeep.layers.seed_state import Dropout

MODES = {"tensorflow": [False, True, "xla"], "jax": [True]}[BACKEND]


def inner():
    return keras.Sequential(
        [
            layers.Conv2D(8, 3, padding="same", activation="relu"),
            layers.BatchNormalization(),
            Dropout(0.4, seed=3),
            layers.Conv2D(4, 1),
        ]
    )


@pytest.mark.parametrize("compiled", MODES)
def test_equals_the_layer_step_after_step(compiled):
    ours, plain = Recompute(inner()), inner()
    x = images(4, 6, 6, 4)
    for layer in (ours, plain):
        layer.build(x.shape)
    copy_weights(ours, plain)
    steps = [
        training_step(layer, compiled, training=True) for layer in (ours, plain)
    ]
    for _ in range(3):
        close(*(flat(step(x)) for step in steps), 1e-5, 1e-5)
        for a, b in zip(
            ours.non_trainable_variables,
            plain.non_trainable_variables,
            strict=True,
        ):
            np.testing.assert_allclose(a, b, 1e-6, 1e-6)
    np.testing.assert_array_equal(ours(x), plain(x))


def test_losses_of_the_layer_are_handed_on():
    dense = layers.Dense(4, activity_regularizer="l2", kernel_regularizer="l1")
    ours = Recompute(dense)
    plain = layers.Dense.from_config(dense.get_config())
    x = images(3, 4)
    for layer in (ours, plain):
        layer.build(x.shape)
    copy_weights(ours, plain)
    results = [
        flat(gradients(layer, x, losses=True, training=True))
        for layer in (ours, plain)
    ]
    close(*results)


def test_structures_of_tensors_go_in_and_out():
    class Pair(layers.Layer):
        def build(self, shape):
            self.scale = self.add_weight(shape=(), initializer="ones")

        def call(self, inputs):
            x = inputs["x"] * self.scale
            picked = ops.take(x, inputs["at"], axis=1)
            return {"picked": picked, "at": inputs["at"] + 1}

    layer = Recompute(Pair())
    x = images(2, 4)
    inputs = {"x": ops.convert_to_tensor(x), "at": ops.array([1, 2])}
    outputs = layer(inputs, training=True)
    np.testing.assert_allclose(outputs["picked"], x[:, [1, 2]])
    np.testing.assert_array_equal(outputs["at"], [2, 3])


def test_the_layer_runs_twice_forward_and_once_backward():
    probe = Probe()
    gradients(Recompute(probe), images(2, 4), compiled=True, training=True)
    assert probe.count == {"forward": 2, "backward": 1}


def test_only_the_ends_are_kept():
    net = keras.Sequential(
        [layers.Conv2D(16, 1, activation="tanh") for _ in range(5)]
    )
    x = images(4, 8, 8, 4)
    net.build(x.shape)
    plain = kept_bytes(net, x)
    recomputed = Recompute(net)
    recomputed.build(x.shape)
    ours = kept_bytes(recomputed, x)
    ends = x.nbytes + 4 * np.prod(net.compute_output_shape(x.shape))
    assert ours <= ends < plain / 2


def test_masks_reach_the_layer():
    x = images(2, 3, 4)
    attention = Recompute(layers.LSTM(4, return_sequences=True))
    attention.build(x.shape)
    mask = ops.convert_to_tensor([[True, False, False], [True, True, True]])
    y = np.array(attention(x, mask=mask, training=True))
    expected = np.array(attention.layer(x, mask=mask))
    np.testing.assert_allclose(y, expected, 1e-5, 1e-6)


def test_bad_argument():
    with pytest.raises(ValueError, match="Received: layer=str"):
        Recompute("dense")
