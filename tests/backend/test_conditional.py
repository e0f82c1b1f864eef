"""A layer that runs, and updates its state, only under a condition."""

import keras
import numpy as np
import pytest
from keras import ops

from tests.helpers import (
    BACKEND,
    activity_penalty,
    arrays,
    gradients,
    images,
)
from tfdeep import backend


class Conditional(keras.layers.Layer):
    """Calls a layer where the input's first value is positive."""

    def __init__(self, layer, **kwargs):
        super().__init__(**kwargs)
        self.layer = layer

    def build(self, input_shape):
        self.layer.build(input_shape)

    def call(self, inputs, training=None):
        y, self.loss = backend.conditional_call(
            inputs[0, 0] > 0,
            self.layer,
            inputs,
            then=lambda y: 2.0 * y,
            otherwise=lambda: ops.full(ops.shape(inputs), 7.0),
            training=training,
        )
        if self.loss is not None:
            self.add_loss(self.loss)
        return y


def positive(sign):
    x = images(6, 3)
    x[0, 0] = sign
    return x


@pytest.mark.parametrize("compiled", [False, True])
def test_where_true_it_is_then_of_the_layer(compiled):
    batch_norm = keras.layers.BatchNormalization()
    layer = Conditional(batch_norm)
    layer.build((6, 3))
    start, x = arrays(batch_norm.non_trainable_variables), positive(1)
    y, dx, weight_gradients = gradients(layer, x, compiled, training=True)
    moved = arrays(batch_norm.non_trainable_variables)
    for variable, value in zip(
        batch_norm.non_trainable_variables, start, strict=True
    ):
        variable.assign(value)
    plain = gradients(batch_norm, x, compiled, training=True)
    for ours, theirs in zip(
        [y, dx, *weight_gradients, *moved],
        [
            2 * plain[0],
            2 * plain[1],
            *[2 * gradient for gradient in plain[2]],
            *arrays(batch_norm.non_trainable_variables),
        ],
        strict=True,
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)
    assert np.any(moved[0] != start[0])


@pytest.mark.parametrize("compiled", [False, True])
def test_where_false_it_is_otherwise_and_nothing_moves(compiled):
    batch_norm = keras.layers.BatchNormalization()
    layer = Conditional(batch_norm)
    layer.build((6, 3))
    start = arrays(batch_norm.variables)
    y, dx, weight_gradients = gradients(
        layer, positive(-1), compiled, training=True
    )
    assert np.all(y == 7.0)
    for value in [dx, *weight_gradients]:
        assert not np.any(value)
    for a, b in zip(arrays(batch_norm.variables), start, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.tensorflow
def test_where_false_gradients_are_zero_even_without_a_graph():
    """Keras would warn of weights without one, and leave them out."""
    import tensorflow as tf

    layer = Conditional(keras.layers.Dense(3))
    layer.build((6, 3))
    weights = [variable.value for variable in layer.trainable_variables]
    with tf.GradientTape() as tape:
        y = layer(positive(-1))
    for gradient in tape.gradient(y, weights):
        assert not np.any(gradient.numpy())


def test_a_layer_without_losses_gives_none():
    layer = Conditional(keras.layers.Dense(3))
    layer.build((6, 3))
    layer(positive(1))
    assert layer.loss is None


@pytest.mark.parametrize("sign", [1, -1])
def test_the_loss_is_that_of_the_call_or_zero(sign):
    dense = keras.layers.Dense(
        3, activity_regularizer=keras.regularizers.L2(0.5)
    )
    layer = Conditional(dense)
    layer.build((6, 3))
    x = positive(sign)
    y = arrays([layer(x)])[0] / 2
    total = 0.5 * np.sum(y**2) if sign > 0 else 0.0
    expected = activity_penalty(total, len(y))
    np.testing.assert_allclose(sum(arrays(layer.losses)), expected, rtol=1e-5)


@pytest.mark.skipif(BACKEND != "jax", reason="reads JAX's own program")
def test_cheap_values_of_a_branch_are_not_kept():
    """Of two activated products: the input, the products, what is returned."""
    import jax

    branch = keras.Sequential([keras.layers.Dense(3, "relu") for _ in "12"])
    layer = Conditional(branch)
    layer.build((6, 3))
    weights = [v.value for v in layer.trainable_variables]

    def loss(weights, x):
        return ops.sum(layer.stateless_call(weights, [], x)[0])

    program = jax.make_jaxpr(jax.grad(loss))(weights, positive(1))
    conditions = [e for e in program.eqns if e.primitive.name == "cond"]
    kept = [v.aval for v in conditions[0].outvars if v.aval.shape == (6, 3)]
    assert [each.dtype.name for each in kept] == ["float32"] * 4
