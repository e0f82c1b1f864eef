"""GroupedConv2D equals one convolution per group, and Keras' own."""

import keras
import numpy as np
import pytest
from keras import ops

from tests.helpers import (
    close,
    copy_weights,
    flat,
    gradients,
    images,
    randomize,
    reference_gradients,
)
from tfdeep.layers import GroupedConv2D

OPTIONS = [
    {},
    {"padding": "same", "strides": 2},
    {"padding": "same", "dilation_rate": 2},
    {"padding": "valid", "strides": (2, 1), "use_bias": False},
]


def built(groups, **options):
    layer = GroupedConv2D(
        8, 3, groups=groups, data_format="channels_last", **options
    )
    layer.build((None, 7, 6, 4))
    randomize(layer)
    return layer


def convolve(x, kernel):
    """A "valid" grouped convolution, one output value after another."""
    batch, height, width, channels = x.shape
    rows, columns, per_group, filters = kernel.shape
    groups = channels // per_group
    y = np.zeros((batch, height - rows + 1, width - columns + 1, filters))
    for f in range(filters):
        start = f // (filters // groups) * per_group
        for i in range(y.shape[1]):
            for j in range(y.shape[2]):
                window = x[:, i : i + rows, j : j + columns]
                window = window[..., start : start + per_group]
                y[:, i, j, f] = np.sum(window * kernel[..., f], (1, 2, 3))
    return y


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_values_equal_a_loop_in_numpy(groups):
    layer = built(groups)
    x = images(2, 7, 6, 4)
    kernel, bias = (ops.convert_to_numpy(w.value) for w in layer.weights)
    assert kernel.shape == (3, 3, 4 // groups, 8)
    y, _, _ = gradients(layer, x)
    np.testing.assert_allclose(y, convolve(x, kernel) + bias, atol=1e-5)


@pytest.mark.parametrize("options", OPTIONS)
def test_gradients_equal_one_convolution_per_group(options):
    layer = built(2, **options)
    x = images(2, 7, 6, 4)

    def reference(x, kernel, bias=0.0):
        arguments = {
            name: value for name, value in options.items() if name != "use_bias"
        }
        parts = [
            ops.conv(
                x[..., 2 * i : 2 * i + 2],
                kernel[..., 4 * i : 4 * i + 4],
                **arguments,
            )
            for i in range(2)
        ]
        return ops.concatenate(parts, -1) + bias

    weights = [ops.convert_to_numpy(w.value) for w in layer.weights]
    expected, expected_gradients = reference_gradients(reference, x, *weights)
    close(
        flat(gradients(layer, x)),
        [expected, *expected_gradients],
        rtol=1e-4,
        atol=1e-4,
    )


@pytest.mark.parametrize("options", OPTIONS)
def test_equals_the_native_grouped_convolution(options):
    layer = built(4, **options)
    native = keras.layers.Conv2D(
        8, 3, groups=4, data_format="channels_last", **options
    )
    native.build((None, 7, 6, 4))
    copy_weights(layer, native)
    x = images(2, 7, 6, 4)
    ours = gradients(layer, x, compiled=True)
    theirs = gradients(native, x, compiled=True)
    close(flat(ours), flat(theirs), rtol=1e-4, atol=1e-4)
    assert layer.compute_output_shape(x.shape) == ours[0].shape


def test_one_group_is_conv2d_exactly():
    layer = built(1)
    plain = keras.layers.Conv2D(8, 3, data_format="channels_last")
    plain.build((None, 7, 6, 4))
    copy_weights(layer, plain)
    x = images(2, 7, 6, 4)
    ours, theirs = gradients(layer, x), gradients(plain, x)
    close(flat(ours), flat(theirs), rtol=0, atol=0)


def test_an_accelerator_takes_the_native_form(monkeypatch):
    layer = built(4)
    x = images(2, 7, 6, 4)
    expected = ops.convert_to_numpy(layer(x))
    called = []

    def native(self, inputs, kernel):
        called.append(True)
        return ops.conv(inputs, kernel, padding="valid")

    monkeypatch.setattr("tfdeep.backend.has_accelerator", lambda: True)
    monkeypatch.setattr(keras.layers.Conv2D, "convolution_op", native)
    y = ops.convert_to_numpy(layer(x))
    assert called == [True]
    np.testing.assert_allclose(y, expected, atol=1e-5)


def test_groups_do_not_mix():
    layer = built(2)
    x = images(1, 7, 6, 4)
    y = ops.convert_to_numpy(layer(x))
    x[..., 2:] += 1
    changed = ops.convert_to_numpy(layer(x))
    np.testing.assert_array_equal(changed[..., :4], y[..., :4])
    assert np.all(np.any(changed[..., 4:] != y[..., 4:], axis=(0, 1, 2)))


def test_bad_arguments():
    with pytest.raises(ValueError, match="groups"):
        GroupedConv2D(8, 3, groups=3)
    with pytest.raises(ValueError, match="groups|channels"):
        GroupedConv2D(8, 3, groups=4).build((None, 5, 5, 6))
