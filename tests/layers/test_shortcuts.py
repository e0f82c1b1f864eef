"""Option A against NumPy."""

import numpy as np
import pytest

from tests.helpers import gradients, images
from tfdeep.layers import ZeroPadShortcut
from tfdeep.layers.shortcuts import strided_shape

CASES = [
    (size, strides, filters)
    for size in ((4, 4), (5, 7), (1, 2))
    for strides in (1, 2, 3)
    for filters in (3, 8)
]


def option_a(x, strides, filters):
    """Pixel by pixel."""
    batch, height, width, channels = x.shape
    rows, columns = range(0, height, strides), range(0, width, strides)
    y = np.zeros((batch, len(rows), len(columns), filters), x.dtype)
    for i, row in enumerate(rows):
        for j, column in enumerate(columns):
            y[:, i, j, :channels] = x[:, row, column]
    return y


def averaged(x, strides, filters):
    """The mean of the pixels of each window that lie in the image."""
    size = 8 * strides
    batch, height, width, channels = x.shape
    missing = (-height % strides, -width % strides)
    counted = np.full((batch, size, size, channels), np.nan, x.dtype)
    top, left = missing[0] // 2, missing[1] // 2
    counted[:, top : top + height, left : left + width] = x
    windows = counted.reshape(batch, 8, strides, 8, strides, channels)
    windows = windows[:, : -(-height // strides), :, : -(-width // strides)]
    mean = np.nanmean(windows, axis=(2, 4))
    padding = [(0, 0)] * 3 + [(0, filters - channels)]
    return np.pad(mean, padding)


@pytest.mark.parametrize("size,strides,filters", CASES)
def test_slice_is_the_papers_option_a(size, strides, filters):
    x = images(2, *size, 3)
    layer = ZeroPadShortcut(filters, strides, data_format="channels_last")
    y, dx, weight_gradients = gradients(layer, x)
    expected = option_a(x, strides, filters)
    np.testing.assert_array_equal(y, expected)
    assert weight_gradients == []
    assert layer.compute_output_shape(x.shape) == expected.shape

    cotangent = np.cos(np.arange(y.size)).reshape(y.shape)
    expected_dx = np.zeros_like(x)
    expected_dx[:, ::strides, ::strides] = cotangent[..., :3]
    np.testing.assert_allclose(dx, expected_dx, atol=1e-6)


@pytest.mark.parametrize("size,strides,filters", CASES)
def test_average_is_the_mean_of_each_window(size, strides, filters):
    x = images(2, *size, 3)
    layer = ZeroPadShortcut(
        filters, strides, "average", data_format="channels_last"
    )
    y, _, _ = gradients(layer, x)
    np.testing.assert_allclose(y, averaged(x, strides, filters), atol=1e-6)


@pytest.mark.parametrize("subsample", ["slice", "average"])
def test_channels_first_is_its_transpose(subsample):
    x = images(2, 5, 6, 3)
    last = ZeroPadShortcut(8, 2, subsample, "channels_last")
    first = ZeroPadShortcut(8, 2, subsample, "channels_first")
    x_first = x.transpose(0, 3, 1, 2)
    y, _, _ = gradients(first, x_first)
    expected = gradients(last, x)[0].transpose(0, 3, 1, 2)
    np.testing.assert_allclose(y, expected, atol=1e-6)
    assert first.compute_output_shape(x_first.shape) == expected.shape


def test_neutral_is_the_identity():
    x = images(2, 4, 4, 3)
    layer = ZeroPadShortcut(3, data_format="channels_last")
    np.testing.assert_array_equal(gradients(layer, x)[0], x)
    assert layer.count_params() == 0


@pytest.mark.parametrize(
    "shape,data_format,expected",
    [
        ((None, 5, None, 3), "channels_last", (None, 3, None, 8)),
        ((2, 3, 4, 1), "channels_first", (2, 8, 2, 1)),
    ],
)
def test_strided_shape_keeps_unknown_sizes(shape, data_format, expected):
    assert strided_shape(shape, 8, 2, data_format) == expected


def test_bad_arguments():
    with pytest.raises(ValueError, match="Received: filters=0"):
        ZeroPadShortcut(0)
    with pytest.raises(ValueError, match="Received: strides=-1"):
        ZeroPadShortcut(4, -1)
    with pytest.raises(ValueError, match="'slice'.*Received: subsample='max'"):
        ZeroPadShortcut(4, 2, "max")
    with pytest.raises(ValueError, match="6 channels.*4 filters.*'B'"):
        ZeroPadShortcut(4).build((None, 5, 5, 6))
