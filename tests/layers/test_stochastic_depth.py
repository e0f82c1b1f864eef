"""StochasticDepth: b f(x) in training, p f(x) at inference."""

import keras
import numpy as np
import pytest
from keras import ops

from tests.helpers import (
    arrays,
    close,
    copy_weights,
    flat,
    gradients,
    images,
    reference_gradients,
    training_step,
)
from tfdeep.layers import StochasticDepth


def dense_layer(survival, seed=0):
    """A wrapped dense branch, and the branch."""
    branch = keras.layers.Dense(3, activation="tanh")
    layer = StochasticDepth(branch, survival, seed=seed)
    layer.build((None, 4))
    return layer, branch


class TestNeutral:
    @pytest.mark.parametrize("training", [False, True])
    def test_survival_1_is_the_plain_branch(self, training):
        layer, branch = dense_layer(1.0)
        x = images(5, 4)
        ours = gradients(layer, x, training=training)
        plain = gradients(branch, x, training=training)
        close(flat(ours), flat(plain), rtol=0, atol=0)

    @pytest.mark.parametrize("training", [False, True])
    def test_survival_0_is_zero(self, training):
        layer, _ = dense_layer(0.0)
        result = flat(gradients(layer, images(5, 4), training=training))
        assert result[0].shape == (5, 3)
        assert not any(np.any(value) for value in result)


class TestValues:
    def test_training_is_b_f_and_the_mean_of_b_is_p(self):
        layer, branch = dense_layer(0.7)
        x = images(6, 4)
        plain = np.asarray(branch(x))
        step = training_step(layer, training=True)
        kept = 0
        for _ in range(400):
            y, _, _ = step(x)
            # One decision for all rows: b f(x) with b in {0, 1}.
            b = int(np.any(y))
            np.testing.assert_allclose(y, b * plain, rtol=1e-6)
            kept += b
        assert abs(kept - 280) < 4 * np.sqrt(400 * 0.7 * 0.3)

    @pytest.mark.parametrize("survival", [0.0, 0.3, 0.9])
    def test_inference_is_p_f_with_its_gradients(self, survival):
        layer, branch = dense_layer(survival)
        x = images(6, 4)
        y, dx, weight_gradients = gradients(layer, x, training=False)
        plain = gradients(branch, x, training=False)
        close([y, dx, *weight_gradients], [survival * t for t in flat(plain)])

    def test_inference_is_the_mean_of_training(self):
        """The weight-scaling rule is exact for a single branch."""
        layer, _ = dense_layer(0.5, seed=4)
        x = images(2, 4)
        step = training_step(layer, training=True)
        mean = np.mean([step(x)[0] for _ in range(400)], axis=0)
        y = np.asarray(layer(x, training=False))
        bound = 4 * np.sqrt(0.25 / 400) * np.abs(y / 0.5) + 1e-6
        assert np.all(np.abs(mean - y) < bound)


class Added(keras.layers.Layer):
    """The wrapper called with a weighted input as its shortcut."""

    def __init__(self, survival):
        super().__init__()
        branch = keras.layers.Dense(4, activation="tanh")
        self.wrapper = StochasticDepth(branch, survival, seed=0)

    def build(self, input_shape):
        self.weight = self.add_weight(shape=(4,), initializer="ones")
        self.wrapper.build(input_shape)

    def call(self, inputs, training=None):
        return self.wrapper(inputs, inputs * self.weight, training=training)


class TestShortcut:
    """`layer(x, shortcut)` is `shortcut + layer(x)`, values and gradients."""

    def plain(self, layer, x, factor):
        kernel, bias = arrays(layer.wrapper.layer.weights)

        def block(x, weight, kernel, bias):
            return x * weight + factor * ops.tanh(x @ kernel + bias)

        return reference_gradients(
            block, x, np.ones(4, "float32"), kernel, bias
        )

    def equal(self, result, expected):
        close(flat(result), [expected[0], *expected[1]])

    @pytest.mark.parametrize("survival", [0.0, 0.4, 1.0])
    def test_inference(self, survival):
        layer, x = Added(survival), images(5, 4)
        layer.build(x.shape)
        self.equal(
            gradients(layer, x, training=False),
            self.plain(layer, x, survival),
        )

    @pytest.mark.parametrize("compiled", [False, True])
    def test_training(self, compiled):
        layer, x = Added(0.5), images(5, 4)
        layer.build(x.shape)
        step = training_step(layer, compiled, training=True)
        seen = set()
        for _ in range(12):
            result = step(x)
            kept = bool(np.any(result[0] != x))
            seen.add(kept)
            self.equal(result, self.plain(layer, x, kept))
        assert seen == {False, True}

    @pytest.mark.parametrize("survival", [0.0, 1.0])
    def test_training_without_a_draw(self, survival):
        layer, x = Added(survival), images(5, 4)
        layer.build(x.shape)
        self.equal(
            gradients(layer, x, training=True),
            self.plain(layer, x, survival),
        )


class MaskedMean(keras.layers.Layer):
    """The mean over the steps that the mask keeps, at every step."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.supports_masking = True

    def call(self, inputs, mask=None):
        weights = ops.expand_dims(ops.cast(mask, "float32"), -1)
        mean = ops.sum(inputs * weights, 1, keepdims=True)
        return inputs * 0.0 + mean / ops.sum(weights, 1, keepdims=True)

    def compute_output_shape(self, input_shape):
        return input_shape


@pytest.mark.parametrize("survival", [0.5, 1.0])
def test_the_mask_reaches_the_branch_and_passes_on(survival):
    layer = StochasticDepth(MaskedMean(), survival, seed=0)
    x, mask = images(2, 3, 4), np.array([[1, 1, 0], [1, 0, 0]], bool)
    expected = np.stack([x[0, :2].mean(0), x[1, 0]])[:, None].repeat(3, 1)
    y = np.asarray(layer(x, mask=mask, training=False))
    np.testing.assert_allclose(y, survival * expected, rtol=1e-5)
    outputs = [np.asarray(layer(x, mask=mask, training=True)) for _ in range(9)]
    for y in outputs:
        b = np.any(y)
        np.testing.assert_allclose(y, b * expected, rtol=1e-5)
    np.testing.assert_array_equal(layer.compute_mask(x, mask), mask)


class TestArguments:
    @pytest.mark.parametrize("survival", [-0.1, 1.1, "0.5", True, None])
    def test_a_probability_outside_0_and_1(self, survival):
        with pytest.raises(ValueError, match="Received: survival_probability="):
            StochasticDepth(keras.layers.Dense(1), survival)

    def test_a_branch_that_is_no_layer(self):
        with pytest.raises(ValueError, match="layer"):
            StochasticDepth(lambda x: x, 0.5)

    def test_a_branch_with_two_outputs(self):
        inputs = keras.Input((3,))
        branch = keras.Model(inputs, [inputs + 1, inputs * 2], name="two")
        with pytest.raises(ValueError, match="'two' returns several tensors"):
            StochasticDepth(branch, 0.5).build((None, 3))

    def test_config_round_trip_keeps_the_decisions(self):
        layer, _ = dense_layer(0.5, seed=7)
        copy = StochasticDepth.from_config(layer.get_config())
        copy.build((None, 4))
        copy_weights(layer, copy)
        x = images(1, 4)
        ours = training_step(layer, training=True)
        theirs = training_step(copy, training=True)
        for _ in range(20):
            np.testing.assert_array_equal(ours(x)[0], theirs(x)[0])
