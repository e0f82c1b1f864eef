"""Two kernels as one: by hand, and against Keras on every kind of padding."""

import itertools

import keras
import numpy as np
import pytest
from keras import layers

from tests.helpers import arrays, images, randomize
from tfdeep.linearization.affine import (
    Affine,
    NotExact,
    composed,
    of_depthwise,
    without_groups,
    zeros,
)


def line(taps, bias=0.0, strides=1):
    kernel = np.reshape(taps, (-1, 1, 1)).astype("float64")
    return Affine(kernel, np.full(1, bias), (strides,), (1,), size=(4,))


def test_the_small_example():
    both = composed(line([1, 2], 1.0), line([3, -1], 0.5))
    assert both.kernel.ravel().tolist() == [3, 5, -2]
    assert both.bias.tolist() == [2.5]
    x = np.array([1.0, 0.0, 2.0, 1.0])
    y = np.convolve(x, both.kernel.ravel()[::-1], "valid") + both.bias
    assert y.tolist() == [1.5, 10.5]


def test_the_small_example_with_a_stride():
    both = composed(line([1, 2], 1.0, strides=2), line([3, -1]))
    assert both.kernel.ravel().tolist() == [3, 6, -1, -2]
    assert both.strides == (2,)


@pytest.mark.parametrize(("strides", "size"), [(1, (5, 5)), (2, (7, 7))])
def test_the_size_of_two_3x3(strides, size):
    kernel = np.ones((3, 3, 2, 2))
    one = Affine(kernel, np.zeros(2), (strides, strides), (1, 1))
    two = Affine(kernel, np.zeros(2), (1, 1), (1, 1))
    assert composed(one, two).sizes == size


@pytest.mark.parametrize("size", [7, 8, 9])
@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (3, 2), (4, 2), (1, 3)])
def test_zeros_are_those_of_same(size, kernel, stride):
    before, after = zeros(size, kernel, stride, 1)
    same = layers.Conv1D(1, kernel, stride, "same")
    valid = layers.Conv1D(1, kernel, stride)
    x = images(1, size, 1)
    expected = arrays([same(x)])[0]
    padded = np.pad(x, [(0, 0), (before, after), (0, 0)])
    valid(padded)
    valid.set_weights(same.get_weights())
    np.testing.assert_allclose(arrays([valid(padded)])[0], expected, 1e-5, 1e-6)


def test_groups_and_depthwise_are_full_kernels():
    x = images(2, 5, 5, 6)
    grouped = layers.Conv2D(4, 3, groups=2, use_bias=False)
    depthwise = layers.DepthwiseConv2D(3, depth_multiplier=2, use_bias=False)
    for layer, full in (
        (grouped, lambda kernel: without_groups(kernel, 2)),
        (depthwise, of_depthwise),
    ):
        expected = arrays([layer(x)])[0]
        kernel = full(arrays([layer.kernel])[0])
        plain = layers.Conv2D(kernel.shape[-1], 3, use_bias=False)
        plain(x)
        plain.set_weights([kernel])
        np.testing.assert_allclose(arrays([plain(x)])[0], expected, 1e-4, 1e-5)


def test_a_sum_with_the_input_needs_a_centre():
    kernel = np.zeros((3, 3, 2, 2))
    same = Affine(kernel, np.zeros(2), (1, 1), (1, 1), "same")
    found = same.with_identity().kernel
    assert found[1, 1].tolist() == np.eye(2).tolist() and found.sum() == 2
    for other in (
        Affine(kernel, np.zeros(2), (1, 1), (1, 1)),
        Affine(kernel, np.zeros(2), (2, 2), (1, 1), "same"),
        Affine(kernel[..., :1], np.zeros(1), (1, 1), (1, 1), "same"),
        Affine(kernel[:2], np.zeros(2), (1, 1), (1, 1), "same"),
    ):
        with pytest.raises(NotExact):
            other.with_identity()


SHAPES = [(k, s, d) for k in (1, 3) for s, d in ((1, 1), (2, 1), (1, 2))]


@pytest.mark.parametrize("bias", [False, True])
def test_padding_is_exact_or_refused(bias):
    """Of all pairs of two sizes, strides, dilations and paddings."""
    x = images(1, 15, 2)
    found = {True: 0, False: 0}
    for (one, pad1), (two, pad2) in itertools.product(
        itertools.product(SHAPES, ("valid", "same")), repeat=2
    ):
        first, second = (
            layers.Conv1D(2, k, s, pad, dilation_rate=d, use_bias=bias)
            for (k, s, d), pad in ((one, pad1), (two, pad2))
        )
        model = keras.Sequential([keras.Input((15, 2)), first, second])
        randomize(model)
        key = (one, pad1, two, pad2)
        try:
            both = composed(affine(first, 15), affine(second, None))
        except NotExact:
            found[False] += 1
            assert pad2 == "same" and two[0] == 3, key
            exact = one[:2] == (1, 1) and not bias
            assert not exact, key
            continue
        found[True] += 1
        expected = arrays([model(x)])[0]
        actual = run(both, x)
        assert actual.shape == expected.shape, key
        np.testing.assert_allclose(actual, expected, 1e-4, 1e-5, err_msg=key)
    assert min(found.values()) > 20


def affine(layer, size):
    bias = np.array(layer.bias) if layer.use_bias else np.zeros(2)
    return Affine(
        arrays([layer.kernel])[0].astype("float64"),
        bias,
        layer.strides,
        layer.dilation_rate,
        layer.padding,
        (size,),
    )


def run(both: Affine, x):
    """By the definition, on (1, size, channels)."""
    (k, *_), (s,), (d,) = both.kernel.shape, both.strides, both.dilation
    pads = both.pads
    if both.padding == "same":
        pads = (zeros(x.shape[1], k, s, d),)
    padded = np.pad(x[0], [pads[0] if pads else (0, 0), (0, 0)])
    reach = (k - 1) * d + 1
    return np.array(
        [
            [
                sum(padded[i + p * d] @ both.kernel[p] for p in range(k))
                + both.bias
                for i in range(0, len(padded) - reach + 1, s)
            ]
        ]
    )
