"""Clipped gradients of every supported layer equal a loop over examples."""

import keras
import numpy as np
import pytest
from keras import layers

from tests.helpers import randomize
from tests.privacy.reference import check
from tfdeep.layers import GroupedConv2D, WeightStandardizedConv2D


def pairs():
    """Sequences so short that the norm comes from pairs of positions."""
    return (6, 5), [
        layers.Dense(4, "tanh"),
        layers.Dense(80, use_bias=False),
    ]


def line():
    """Convolutions in one dimension."""
    return (9, 3), [
        layers.Conv1D(
            4, 3, padding="causal", dilation_rate=2, activation="tanh"
        ),
        layers.SeparableConv1D(5, 3, padding="same", depth_multiplier=2),
        layers.DepthwiseConv1D(3),
        layers.Conv1D(4, 2, strides=3, padding="same"),
        layers.Conv1DTranspose(4, 3, strides=2),
    ]


def image():
    """Convolutions of several sizes, one with gaps."""
    return (7, 8, 3), [
        layers.Conv2D(4, 3, padding="same", activation="tanh"),
        layers.Conv2D(4, 3, dilation_rate=(2, 1), padding="same"),
        layers.Conv2D(6, (2, 3), strides=2),
        layers.Conv2D(9, 2, padding="same", use_bias=False),
    ]


def strides():
    """Strides that differ, and that are larger than the kernel."""
    return (9, 8, 2), [
        layers.Conv2D(4, (3, 2), strides=(2, 3), padding="same"),
        layers.Conv2D(3, 1, strides=2),
    ]


def groups():
    """Channels in groups, one to a group at last."""
    return (6, 6, 4), [
        layers.Conv2D(8, 3, groups=2, padding="same", activation="tanh"),
        GroupedConv2D(4, 1, groups=4),
        layers.DepthwiseConv2D(3, depth_multiplier=2, activation="tanh"),
        layers.DepthwiseConv2D(2, strides=2, padding="same"),
    ]


def few_positions():
    """Pairs of positions again, of groups of channels."""
    return (3, 3, 16), [layers.Conv2D(32, 2, groups=2, activation="tanh")]


def separable():
    """Two kernels after each other, then images that grow."""
    return (6, 6, 3), [
        layers.SeparableConv2D(5, 3, depth_multiplier=2, strides=2),
        layers.Conv2DTranspose(4, 3, strides=2, padding="same"),
        layers.Conv2DTranspose(2, (2, 3), strides=3),
    ]


def volume():
    """Convolutions in three dimensions, down and up."""
    return (4, 5, 4, 2), [
        layers.Conv3D(3, 2, strides=2, padding="same"),
        layers.Conv3DTranspose(2, 2),
    ]


def einsum():
    """Tensors between any axes, with biases on any."""
    return (6, 5), [
        layers.EinsumDense(
            "abc,cde->abde", (6, 2, 3), bias_axes="de", activation="tanh"
        ),
        layers.EinsumDense("abde,fde->abf", (6, 4), bias_axes="f"),
        layers.EinsumDense("abf,bfg->abg", (6, 3), bias_axes="bg"),
    ]


def normal():
    """What is normal within an example, over one axis, two, and groups."""
    return (4, 4, 6), [
        layers.Conv2D(6, 3),
        layers.GroupNormalization(3),
        layers.LayerNormalization(),
        layers.Dense(5, "tanh"),
        layers.LayerNormalization(axis=[2, 3], center=False),
        layers.Dense(6),
        layers.RMSNormalization(),
    ]


BOOKS = (
    pairs,
    line,
    image,
    strides,
    groups,
    few_positions,
    separable,
    volume,
    einsum,
    normal,
)


def sequential(shape, stack):
    """The layers under test, a classifier after them, and random weights.

    Activations are smooth: batches of one and of many may fall on two sides
    of a kink. Logits are no larger than a few units: of an example that is
    right beyond doubt the gradient is 1e-19, and in single precision one digit
    of it is known.
    """
    base = keras.Sequential([keras.Input(shape), *stack, layers.Flatten()])
    base.add(layers.Dense(3))
    randomize(base)
    kernel = base.layers[-1].kernel
    kernel.assign(0.1 * kernel)
    return base


def batch(shape, size=3):
    x = np.random.default_rng(1).normal(size=(size, *shape))
    return x.astype(keras.config.floatx()), np.arange(size) % 3


@pytest.mark.parametrize("make", BOOKS, ids=lambda make: make.__name__)
def test_book_keeping(make, double):
    shape, stack = make()
    model = check(sequential(shape, stack), *batch(shape))
    ways = model.describe_clipping().splitlines()
    assert len(ways) == len(stack) + 1
    assert all(way.endswith("book-keeping") for way in ways)


@pytest.mark.parametrize(
    "options",
    [
        {"strides": 2, "padding": "same"},
        {"groups": 2, "use_bias": False},
        {"epsilon": 40.0},  # More than the sum of squares: it is not divided.
    ],
    ids=str,
)
def test_standardized_kernels(options, double):
    layer = WeightStandardizedConv2D(6, 3, activation="tanh", **options)
    stack = [layer, WeightStandardizedConv2D(4, 2)]
    model = check(sequential((7, 6, 4), stack), *batch((7, 6, 4)))
    assert "layer by example" not in model.describe_clipping()


@pytest.mark.slow
def test_other_layers_run_again_on_each_example(double):
    stack = [
        layers.TimeDistributed(layers.Dense(3, "tanh")),
        layers.PReLU("uniform"),
        layers.LSTM(4, return_sequences=True),
        layers.GRU(3),
    ]
    model = check(sequential((4, 5), stack), *batch((4, 5)))
    assert model.describe_clipping().count("layer by example") == 4


@pytest.mark.parametrize("method", ["vectorized", "loop"])
def test_whole_models_run_on_each_example(method):
    shape, stack = strides()
    model = check(sequential(shape, stack), *batch(shape), method=method)
    way = {"vectorized": "vectorised", "loop": "one after the other"}[method]
    if method == "vectorized" and keras.backend.backend() == "tensorflow":
        way += " where that is safe"  # Which is known when it is traced.
    assert model.describe_clipping().endswith(f"whole model, {way}")


@pytest.mark.parametrize("size", [1, 9])
def test_batches_of_any_size(size):
    shape, stack = strides()
    check(sequential(shape, stack), *batch(shape, size))
