"""Standardised kernels: values and gradients against single filters."""

import numpy as np
import pytest
from keras import layers, ops

from tests.helpers import (
    close,
    flat,
    gradients,
    images,
    randomize,
    reference_gradients,
)
from tfdeep.keras_internals import layers_of
from tfdeep.layers import BasicBlock, WeightStandardizedConv2D
from tfdeep.models import WideResNet

OPTIONS = [
    {},
    {"padding": "same", "strides": 2, "activation": "tanh"},
    {"use_bias": False, "padding": "same", "dilation_rate": 2},
    {"groups": 2},
    {"epsilon": 30.0},
]


def built(filters=6, size=3, channels=4, **options):
    layer = WeightStandardizedConv2D(
        filters, size, data_format="channels_last", **options
    )
    layer.build((None, 7, 6, channels))
    randomize(layer)
    return layer


def slow_kernel(kernel, gain, epsilon):
    """Filter by filter, as the paper writes it."""
    filters = []
    for index in range(kernel.shape[-1]):
        w = kernel[..., index]
        n = int(np.prod(w.shape))
        mean = ops.sum(w) / n
        variance = ops.sum((w - mean) ** 2) / n
        scale = ops.sqrt(ops.maximum(variance * n, epsilon))
        filters.append((w - mean) * gain[index] / scale)
    return ops.stack(filters, -1)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_values_and_gradients_equal_single_filters(options):
    layer, x = built(**options), images(3, 7, 6, 4)

    def reference(x, kernel, *others):
        *bias, gain = others
        y = ops.conv(
            x,
            slow_kernel(kernel, gain, layer.epsilon),
            strides=layer.strides,
            padding=layer.padding,
            dilation_rate=layer.dilation_rate,
            data_format="channels_last",
        )
        return layer.activation(y + (bias[0] if bias else 0.0))

    weights = [ops.convert_to_numpy(w.value) for w in layer.weights]
    y, expected = reference_gradients(reference, x, *weights)
    close(flat(gradients(layer, x)), [y, *expected], rtol=1e-4, atol=2e-5)


def test_filters_have_mean_0_and_the_norm_of_their_gain():
    layer = built(use_bias=False, padding="same")
    # The response to an impulse in one channel is the kernel's slice.
    kernel = np.zeros((3, 3, 4, 6))
    for channel in range(4):
        impulse = np.zeros((1, 7, 6, 4), "float32")
        impulse[0, 3, 3, channel] = 1
        response = ops.convert_to_numpy(layer(impulse))[0, 2:5, 2:5]
        kernel[:, :, channel] = response[::-1, ::-1]
    gain = ops.convert_to_numpy(layer.gain)
    np.testing.assert_allclose(kernel.sum((0, 1, 2)), 0, atol=1e-5)
    norms = np.sqrt((kernel**2).sum((0, 1, 2)))
    np.testing.assert_allclose(norms, np.abs(gain), rtol=1e-4)


def test_the_scale_and_the_mean_of_the_kernel_do_not_matter():
    layer, x = built(), images(2, 7, 6, 4)
    before = ops.convert_to_numpy(layer(x))
    layer.kernel.assign(5.0 * layer.kernel + 3.0)
    np.testing.assert_allclose(layer(x), before, atol=1e-4)


def test_of_a_standard_kernel_it_is_the_plain_convolution():
    kernel = np.random.default_rng(0).normal(size=(3, 3, 4, 6))
    kernel -= kernel.mean((0, 1, 2))
    kernel /= np.sqrt((kernel**2).sum((0, 1, 2)))
    ours, plain = WeightStandardizedConv2D(6, 3), layers.Conv2D(6, 3)
    x = images(2, 7, 6, 4)
    ours.build(x.shape), plain.build(x.shape)
    ours.kernel.assign(kernel), plain.kernel.assign(kernel)
    np.testing.assert_allclose(ours(x), plain(x), atol=1e-5)


def test_a_constant_kernel_is_finite():
    layer = WeightStandardizedConv2D(2, 1, kernel_initializer="ones")
    layer.build((None, 3, 3, 1))
    y, *rest = flat(gradients(layer, images(2, 3, 3, 1)))
    np.testing.assert_array_equal(y, 0.0)
    assert all(np.all(np.isfinite(part)) for part in rest)


@pytest.mark.parametrize("epsilon", [-1e-4, "small", float("nan"), True])
def test_bad_epsilon_is_refused(epsilon):
    with pytest.raises(ValueError, match="`epsilon`"):
        WeightStandardizedConv2D(2, 3, epsilon=epsilon)


def test_de_et_al_put_relu_before_the_normalization_before_the_convolution():
    model = WideResNet(
        16,
        4,
        norm="group",
        norm_groups=16,
        activation_first=True,
        weight_standardization=True,
        weight_decay=0.0,
    )
    block = model.get_layer("stage1_block1")
    kinds = [type(each).__name__ for each in block.branch.layers]
    assert kinds == [
        "WeightStandardizedConv2D",
        "ReLU",
        "GroupNormalization",
        "WeightStandardizedConv2D",
    ]
    assert [type(each).__name__ for each in block.preactivation.layers] == [
        "ReLU",
        "GroupNormalization",
    ]
    assert block.shortcut.layers[0].kernel_size == (1, 1)
    assert all(each.groups == 16 for each in block.preactivation.layers[1:])
    outside = [type(each).__name__ for each in model.layers]
    assert outside[-5:] == [
        "ReLU",
        "GroupNormalization",
        "GlobalAveragePooling2D",
        "Dense",
        "Activation",
    ]
    # The stem, two in each of six blocks, three shortcuts.
    convolutions = [
        each
        for each in layers_of(model)
        if isinstance(each, WeightStandardizedConv2D)
    ]
    assert len(convolutions) == 1 + 12 + 3
    assert all(len(each.weights) == 3 for each in convolutions)


def test_post_activation_blocks_refuse_the_other_order():
    with pytest.raises(ValueError, match="activation_first"):
        BasicBlock(4, activation_first=True)


def test_arguments_come_in_the_order_of_keras():
    ours, plain = (
        make(4, 3, 2) for make in (WeightStandardizedConv2D, layers.Conv2D)
    )
    assert ours.strides == plain.strides == (2, 2)
