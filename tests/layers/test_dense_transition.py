"""The transition against its formula."""

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
from tfdeep.layers import DenseTransition


def built(shape, *args, **kwargs):
    layer = DenseTransition(*args, data_format="channels_last", **kwargs)
    layer.build(shape)
    randomize(layer)
    return layer


def transition(x, gamma, beta, kernel):
    y = ref.conv(ref.relu(ref.batch_norm(x, gamma, beta)), kernel)
    height, width = (size // 2 * 2 for size in y.shape[1:3])
    y = y[:, :height, :width]
    corners = [y[:, i::2, j::2] for i in (0, 1) for j in (0, 1)]
    return sum(corners) / 4


@pytest.mark.parametrize("size", [(4, 6), (5, 7)])
@pytest.mark.parametrize("compression", [0.3, 0.5, 1.0])
def test_values_and_gradients(size, compression):
    shape = (3, *size, 9)
    layer, x = built(shape, compression), images(*shape)
    expected, by = reference_gradients(
        transition, x, *arrays(layer.trainable_variables)
    )
    result = flat(gradients(layer, x, training=True))
    close(result, [expected, *by], rtol=1e-3, atol=1e-4)
    assert layer.compute_output_shape(shape) == expected.shape


@pytest.mark.parametrize(
    "compression,channels,kept", [(0.5, 9, 4), (0.5, 10, 5), (0.3, 10, 3)]
)
def test_channels_are_rounded_down(compression, channels, kept):
    layer = built((None, 4, 4, channels), compression)
    shape = layer.compute_output_shape((None, None, 4, channels))
    assert shape == (None, None, 2, kept)
    assert layer.count_params() == 4 * channels + channels * kept


def test_channels_first_shape():
    layer = DenseTransition(0.5, data_format="channels_first")
    assert layer.compute_output_shape((2, 6, 5, 4)) == (2, 3, 2, 2)


@drops_everything
def test_rate_1_is_zero_in_training_alone():
    shape = (2, 4, 4, 6)
    layer, x = built(shape, rate=1.0), images(*shape)
    assert not np.any(gradients(layer, x, training=True)[0])
    assert np.any(gradients(layer, x, training=False)[0])


@pytest.mark.parametrize("compression", [0, 0.0, 1.01, -1])
def test_compression_outside_0_and_1(compression):
    message = r"\(0, 1\].*Received: compression="
    with pytest.raises(ValueError, match=message):
        DenseTransition(compression)


def test_no_channel_left():
    with pytest.raises(ValueError, match="one of 3 channels.*larger"):
        DenseTransition(0.3).build((None, 4, 4, 3))


def test_rate_outside_0_and_1():
    with pytest.raises(ValueError, match="Received: rate=2"):
        DenseTransition(rate=2)
