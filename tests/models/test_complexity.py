"""`multiply_adds` against counts made by hand."""

import keras
import pytest

from tests.models.symbolic import symbolic
from tfdeep.layers import (
    BasicBlock,
    DenseBlock,
    DenseTransition,
    DropPath,
    GroupedConv2D,
    PreActivationBlock,
    StochasticDepth,
)
from tfdeep.models import ResNet, multiply_adds


def sequential(*layers, shape=(8, 6, 4)):
    return keras.Sequential([keras.Input(shape), *layers])


CASES = [
    (lambda: keras.layers.Conv2D(5, 3), 6 * 4 * 9 * 4 * 5),
    (lambda: keras.layers.Conv2D(5, (3, 1), 2, "same"), 4 * 3 * 3 * 4 * 5),
    (lambda: keras.layers.Conv2D(6, 3, groups=2), 6 * 4 * 9 * 2 * 6),
    (lambda: GroupedConv2D(8, 3, groups=4), 6 * 4 * 9 * 1 * 8),
    (lambda: keras.layers.Dense(5), 8 * 6 * 4 * 5),
    (lambda: keras.layers.BatchNormalization(), 0),
    (lambda: DropPath(0.5), 0),
    (
        lambda: StochasticDepth(keras.layers.Conv2D(5, 3), 0.1),
        6 * 4 * 9 * 4 * 5,
    ),
    (lambda: BasicBlock(4), 48 * 9 * 16 * 2),
    (lambda: BasicBlock(4, survival_probability=0.5), 48 * 9 * 16 * 2),
    (lambda: BasicBlock(4, shortcut="C"), 48 * 16 * (9 * 2 + 1)),
    (
        lambda: PreActivationBlock(6, 2),
        12 * (9 * 4 * 6 + 9 * 6 * 6 + 4 * 6),
    ),
    (lambda: DenseBlock(2, 3, False), 48 * 9 * 3 * (4 + 7)),
    (lambda: DenseBlock(2, 3), 48 * (12 * (4 + 7) + 2 * 9 * 12 * 3)),
    (lambda: DenseTransition(0.5), 48 * 4 * 2),
]


@pytest.mark.parametrize("layer,expected", CASES)
def test_one_layer(layer, expected):
    count = multiply_adds(sequential(layer()))
    assert count == expected
    assert isinstance(count, int)


def test_models_inside_models():
    inner = sequential(keras.layers.Conv2D(4, 3, padding="same"))
    inputs = keras.Input((8, 6, 4))
    x = keras.layers.Add()([inner(inputs), inputs])
    x = keras.layers.GlobalAveragePooling2D()(x)
    model = keras.Model(inputs, keras.layers.Dense(7)(x))
    assert multiply_adds(model) == 48 * 9 * 16 + 4 * 7


def test_channels_first_counts_the_same():
    shape = (3, 32, 32)
    first = symbolic(ResNet, 8, input_shape=shape, data_format="channels_first")
    last = symbolic(ResNet, 8, data_format="channels_last")
    assert multiply_adds(first) == multiply_adds(last)


def test_four_times_the_pixels_four_times_the_work():
    small, large = (
        multiply_adds(
            symbolic(ResNet, 8, input_shape=(size, size, 3), include_top=False)
        )
        for size in (16, 32)
    )
    assert large == 4 * small


def test_unknown_sizes_are_refused():
    model = symbolic(ResNet, 8, input_shape=(None, None, 3))
    with pytest.raises(ValueError, match="needs known sizes.*input_shape"):
        multiply_adds(model)


def test_a_layer_called_twice_is_refused():
    dense = keras.layers.Dense(4, name="shared")
    inputs = keras.Input((4,))
    model = keras.Model(inputs, dense(dense(inputs)))
    with pytest.raises(ValueError, match="'shared' is called more than once"):
        multiply_adds(model)


def test_an_activation_called_twice_counts_nothing_anyway():
    relu = keras.layers.ReLU()
    inputs = keras.Input((4,))
    x = keras.layers.Dense(3)(relu(inputs))
    assert multiply_adds(keras.Model(inputs, relu(x))) == 4 * 3


@pytest.mark.parametrize(
    "model",
    [
        None,
        "x",
        keras.layers.Dense(3),
        keras.Sequential([keras.layers.Dense(3)]),
    ],
)
def test_what_is_no_built_model_is_refused(model):
    with pytest.raises(ValueError, match="`model` came as"):
        multiply_adds(model)
