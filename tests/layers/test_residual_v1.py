"""The post-activation blocks against their formulas."""

import numpy as np
import pytest

from tests.helpers import (
    arrays,
    close,
    flat,
    gradients,
    images,
    randomize,
    reference_gradients,
)
from tests.layers import reference as ref
from tfdeep.layers import AggregatedBlock, BasicBlock, BottleneckBlock


def built(block, shape):
    block.build(shape)
    randomize(block)
    return block


def compare(block, x, function):
    """Training values and gradients of a block and of its formula."""
    weights = arrays(block.trainable_variables)
    expected, by = reference_gradients(function, x, *weights)
    result = flat(gradients(block, x, training=True))
    assert block.compute_output_shape(x.shape) == result[0].shape
    close(result, [expected, *by], rtol=1e-3, atol=1e-4)


def basic(strides, shortcut):
    def function(x, k1, g1, b1, k2, g2, b2, *projection):
        y = ref.relu(ref.batch_norm(ref.conv(x, k1, strides), g1, b1))
        y = ref.batch_norm(ref.conv(y, k2), g2, b2)
        return ref.relu(y + shortcut(x, *projection))

    return function


def identity(x):
    return x


def projection(strides):
    def function(x, kernel, gamma, beta):
        return ref.batch_norm(ref.conv(x, kernel, strides), gamma, beta)

    return function


SHORTCUTS = [
    # option, channels, strides, formula
    ("B", 6, 1, identity),
    ("A", 6, 1, identity),
    ("C", 6, 1, projection(1)),
    ("B", 4, 1, projection(1)),
    ("B", 6, 2, projection(2)),
    ("A", 4, 2, lambda x: ref.pad_channels(x, 6, 2)),
    ("none", 4, 2, lambda x: 0.0),
    ("none", 6, 1, lambda x: 0.0),
]


@pytest.mark.parametrize("option,channels,strides,shortcut", SHORTCUTS)
def test_basic_block_is_its_formula(option, channels, strides, shortcut):
    shape = (3, 5, 4, channels)
    block = BasicBlock(6, strides, shortcut=option, data_format="channels_last")
    compare(built(block, shape), images(*shape), basic(strides, shortcut))


def bottleneck(strides, groups=1):
    def function(x, k1, g1, b1, k2, g2, b2, k3, g3, b3, *shortcut):
        y = ref.relu(ref.batch_norm(ref.conv(x, k1), g1, b1))
        y = ref.conv(y, k2, strides, groups=groups)
        y = ref.relu(ref.batch_norm(y, g2, b2))
        y = ref.batch_norm(ref.conv(y, k3), g3, b3)
        x = projection(strides)(x, *shortcut) if shortcut else x
        return ref.relu(y + x)

    return function


@pytest.mark.parametrize("channels,strides", [(12, 1), (5, 2)])
@pytest.mark.parametrize("width", [None, 7])
def test_bottleneck_is_its_formula(channels, strides, width):
    shape = (3, 5, 4, channels)
    block = BottleneckBlock(3, strides, width, data_format="channels_last")
    compare(built(block, shape), images(*shape), bottleneck(strides))


@pytest.mark.parametrize("strides", [1, 2])
def test_aggregated_is_its_formula(strides):
    shape = (3, 5, 4, 6)
    block = AggregatedBlock(
        8, strides, cardinality=3, base_width=16, data_format="channels_last"
    )
    assert block.width == 6
    compare(built(block, shape), images(*shape), bottleneck(strides, 3))


def test_aggregated_is_the_sum_of_its_paths():
    """Figure 3: form (a), a sum of narrow bottlenecks, equals form (c)."""
    shape = (2, 5, 5, 16)
    block = built(
        AggregatedBlock(
            4, 1, cardinality=4, base_width=32, data_format="channels_last"
        ),
        shape,
    )
    x = images(*shape)
    k1, g1, b1, k2, g2, b2, k3, g3, b3 = arrays(block.trainable_variables)
    total = 0.0
    for path in range(4):
        part = slice(2 * path, 2 * path + 2)
        y = ref.batch_norm(ref.conv(x, k1[..., part]), g1[part], b1[part])
        y = ref.conv(ref.relu(y), k2[..., part])
        y = ref.relu(ref.batch_norm(y, g2[part], b2[part]))
        total = total + ref.conv(y, k3[:, :, part])
    expected = ref.relu(x + ref.batch_norm(total, g3, b3))
    y = gradients(block, x, training=True)[0]
    close([y], arrays([expected]), rtol=1e-3, atol=1e-4)


def test_one_group_of_base_width_64_is_the_bottleneck():
    shape = (2, 5, 5, 16)
    wide = built(AggregatedBlock(4, 1, 1, 64), shape)
    plain = built(BottleneckBlock(4), shape)
    x = images(*shape)
    close(
        flat(gradients(wide, x, training=True)),
        flat(gradients(plain, x, training=True)),
        rtol=0,
        atol=0,
    )


def test_inference_uses_the_moving_statistics():
    shape = (2, 5, 5, 6)
    block = built(BasicBlock(6, data_format="channels_last"), shape)
    x = images(*shape)
    k1, g1, b1, k2, g2, b2 = arrays(block.trainable_variables)
    m1, v1, m2, v2 = arrays(block.non_trainable_variables)
    y = ref.relu(ref.frozen_norm(ref.conv(x, k1), g1, b1, m1, v1))
    y = ref.frozen_norm(ref.conv(y, k2), g2, b2, m2, v2)
    expected = arrays([ref.relu(y + x)])
    close([gradients(block, x, training=False)[0]], expected, 1e-4, 1e-4)


def test_a_group_without_a_channel_is_refused():
    with pytest.raises(
        ValueError, match="be 8 or more.*Received: base_width=4"
    ):
        AggregatedBlock(8, base_width=4)
    assert AggregatedBlock(8, base_width=8).width == 32


@pytest.mark.parametrize("argument", ["width", "cardinality", "base_width"])
def test_a_size_that_is_not_positive_is_refused(argument):
    cls = BottleneckBlock if argument == "width" else AggregatedBlock
    with pytest.raises(ValueError, match=f"Received: {argument}=0"):
        cls(8, **{argument: 0})


def test_the_identity_gradient_reaches_the_input():
    """With a branch of zeros, the block is the ReLU of its input."""
    shape = (2, 5, 5, 6)
    block = built(BasicBlock(6), shape)
    block.branch.layers[-1].gamma.assign(np.zeros(6))
    block.branch.layers[-1].beta.assign(np.zeros(6))
    x = images(*shape)
    y, dx, _ = gradients(block, x, training=True)
    cotangent = np.cos(np.arange(x.size)).reshape(shape)
    close([y, dx], [np.maximum(x, 0), cotangent * (x > 0)])
