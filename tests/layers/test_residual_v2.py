"""The pre-activation blocks against their formulas."""

import keras
import numpy as np
import pytest

from tests.helpers import (
    arrays,
    close,
    drops_everything,
    flat,
    gradients,
    images,
    randomize,
    reference_gradients,
)
from tests.layers import reference as ref
from tfdeep.layers import (
    PreActivationBlock,
    PreActivationBottleneckBlock,
    WideBlock,
)


def built(block, shape):
    block.build(shape)
    randomize(block)
    return block


def compare(block, x, function):
    weights = arrays(block.trainable_variables)
    expected, by = reference_gradients(function, x, *weights)
    result = flat(gradients(block, x, training=True))
    assert block.compute_output_shape(x.shape) == result[0].shape
    close(result, [expected, *by], rtol=1e-3, atol=1e-4)


def basic(x, g1, b1, k1, g2, b2, k2):
    y = ref.conv(ref.relu(ref.batch_norm(x, g1, b1)), k1)
    return x + ref.conv(ref.relu(ref.batch_norm(y, g2, b2)), k2)


def strided(strides, shortcut):
    """The first pre-activation, `a`, feeds the branch and the shortcut."""

    def function(x, *weights):
        (k1, g2, b2, k2), (g1, b1), projection = order(weights, 4)
        a = ref.relu(ref.batch_norm(x, g1, b1))
        y = ref.relu(ref.batch_norm(ref.conv(a, k1, strides), g2, b2))
        return ref.conv(y, k2) + shortcut(a, *projection)

    return function


def order(weights, branch):
    """Keras lists the parts of a block in the order they were built in."""
    return weights[2 : 2 + branch], weights[:2], weights[2 + branch :]


def projection(strides):
    return lambda a, kernel: ref.conv(a, kernel, strides)


@pytest.mark.parametrize("option", ["A", "B"])
def test_same_shape_adds_the_input_itself(option):
    shape = (3, 5, 4, 6)
    block = PreActivationBlock(6, shortcut=option, data_format="channels_last")
    built(block, shape)
    assert block.preactivation is None and block.shortcut is None
    compare(block, images(*shape), basic)


@pytest.mark.parametrize(
    "option,channels,strides,shortcut",
    [
        ("B", 4, 1, projection(1)),
        ("B", 6, 2, projection(2)),
        ("A", 4, 2, lambda a: ref.pad_channels(a, 6, 2)),
        ("none", 4, 2, lambda a: 0.0),
    ],
)
def test_a_change_of_shape_shares_the_preactivation(
    option, channels, strides, shortcut
):
    shape = (3, 5, 4, channels)
    block = PreActivationBlock(
        6, strides, shortcut=option, data_format="channels_last"
    )
    built(block, shape)
    assert len(block.preactivation.layers) == 2
    compare(block, images(*shape), strided(strides, shortcut))


def test_bottleneck_is_its_formula():
    shape = (3, 5, 4, 12)

    def function(x, g1, b1, k1, g2, b2, k2, g3, b3, k3):
        y = ref.conv(ref.relu(ref.batch_norm(x, g1, b1)), k1)
        y = ref.conv(ref.relu(ref.batch_norm(y, g2, b2)), k2)
        return x + ref.conv(ref.relu(ref.batch_norm(y, g3, b3)), k3)

    block = PreActivationBottleneckBlock(3, data_format="channels_last")
    compare(built(block, shape), images(*shape), function)


@pytest.mark.parametrize(
    "channels,strides,stride_on", [(12, 2, "3x3"), (5, 1, "3x3"), (5, 2, "1x1")]
)
def test_a_strided_bottleneck_is_its_formula(channels, strides, stride_on):
    shape = (3, 5, 4, channels)

    def function(x, *weights):
        (k1, g2, b2, k2, g3, b3, k3), (g1, b1), (kp,) = order(weights, 7)
        a = ref.relu(ref.batch_norm(x, g1, b1))
        first, second = (1, strides) if stride_on == "3x3" else (strides, 1)
        y = ref.relu(ref.batch_norm(ref.conv(a, k1, first), g2, b2))
        y = ref.relu(ref.batch_norm(ref.conv(y, k2, second), g3, b3))
        return ref.conv(y, k3) + ref.conv(a, kp, strides)

    block = PreActivationBottleneckBlock(
        3, strides, stride_on, data_format="channels_last"
    )
    compare(built(block, shape), images(*shape), function)


def test_the_stride_is_on_one_of_two_convolutions():
    with pytest.raises(ValueError, match="Received: stride_on='2x2'"):
        PreActivationBottleneckBlock(4, 2, "2x2")


class TestWideBlock:
    def test_rate_0_is_the_preactivation_block(self):
        shape = (2, 5, 5, 6)
        wide = built(WideBlock(6), shape)
        plain = built(PreActivationBlock(6), shape)
        x = images(*shape)
        close(
            flat(gradients(wide, x, training=True)),
            flat(gradients(plain, x, training=True)),
            rtol=0,
            atol=0,
        )

    def test_it_is_initialised_by_fan_in(self):
        assert WideBlock(4).fan_mode == "fan_in"
        assert PreActivationBlock(4).fan_mode == "fan_out"

    def test_dropout_is_the_layer_before_the_last_convolution(self):
        block = built(WideBlock(6, rate=0.5, seed=0), (2, 5, 5, 6))
        kinds = [type(layer).__name__ for layer in block.branch.layers]
        assert kinds[-3:] == ["ReLU", "Dropout", "Conv2D"]
        assert kinds.count("Dropout") == 1

    def test_dropout_acts_in_training_alone(self):
        shape = (2, 5, 5, 6)
        block, x = built(WideBlock(6, rate=0.5, seed=0), shape), images(*shape)
        plain = built(WideBlock(6), shape)
        expected = gradients(plain, x, training=False)[0]
        close([gradients(block, x, training=False)[0]], [expected])
        first = gradients(block, x, training=True)[0]
        second = gradients(block, x, training=True)[0]
        assert np.any(first != second)

    @drops_everything
    def test_rate_1_leaves_the_shortcut(self):
        shape = (2, 5, 5, 6)
        block, x = built(WideBlock(6, rate=1.0), shape), images(*shape)
        close([gradients(block, x, training=True)[0]], [x], rtol=0, atol=0)

    def test_a_rate_outside_0_and_1(self):
        with pytest.raises(ValueError, match="Received: rate=1.2"):
            WideBlock(4, rate=1.2)


def test_the_sum_is_not_activated():
    """A pre-activation block passes negative values on."""
    shape = (2, 5, 5, 6)
    block = built(PreActivationBlock(6), shape)
    last = block.branch.layers[-1]
    assert isinstance(last, keras.layers.Conv2D)
    last.kernel.assign(np.zeros(last.kernel.shape))
    x = images(*shape)
    y, dx, _ = gradients(block, x, training=True)
    cotangent = np.cos(np.arange(x.size)).reshape(shape)
    close([y, dx], [x, cotangent])
