"""`count` against counts made by hand."""

import json
import math

import keras
import pytest
from keras import ops

from tests.models.symbolic import symbolic
from tfdeep.graph.count import COUNTS
from tfdeep.layers import (
    BasicBlock,
    DenseBlock,
    DenseTransition,
    DropPath,
    GroupedConv2D,
    PreActivationBlock,
    StochasticDepth,
)
from tfdeep.models import (
    LayerCount,
    ModelCount,
    ResNet,
    count,
    count_rule,
    multiply_adds,
)


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


def test_unknown_sizes_are_refused_unless_they_are_given():
    model = symbolic(ResNet, 8, input_shape=(None, None, 3))
    with pytest.raises(ValueError, match="sizes .* must be known.*input_shape"):
        multiply_adds(model)
    given = multiply_adds(model, (None, 32, 32, 3))
    assert given == multiply_adds(symbolic(ResNet, 8))


@pytest.mark.parametrize("shape", ["x", 7, [(None, 8, 6, 4)] * 2, ("a", 2)])
def test_shapes_that_are_none_of_its_inputs(shape):
    model = sequential(keras.layers.Conv2D(5, 3))
    with pytest.raises(ValueError, match="`input_shape` must be a shape"):
        count(model, shape)


def test_a_layer_called_twice_computes_twice_with_the_same_weights():
    dense = keras.layers.Dense(4, name="shared")
    inputs = keras.Input((4,))
    result = count(keras.Model(inputs, dense(dense(inputs))))
    assert result.multiply_adds == 2 * 16
    assert result.parameters == 20
    assert [row.path for row in result.layers] == ["shared", "shared#2"]


@pytest.mark.parametrize(
    "model,error",
    [
        (None, TypeError),
        ("x", TypeError),
        (keras.layers.Dense(3), TypeError),
        (keras.Sequential([keras.layers.Dense(3)]), ValueError),
    ],
)
def test_what_is_no_built_model_is_refused(model, error):
    with pytest.raises(error, match="`model` must be"):
        multiply_adds(model)


L = keras.layers


class Opaque(L.Layer):
    """Nothing can see what it does with symbols."""

    def build(self, input_shape):
        self.kernel = self.add_weight(shape=(input_shape[-1], 3))

    def call(self, x):
        return ops.vectorized_map(lambda row: row @ self.kernel, x)

    def compute_output_shape(self, shape):
        return (*shape[:-1], 3)


class Cell(L.Layer):
    units = state_size = output_size = 3

    def build(self, input_shape):
        self.kernel = self.add_weight(shape=(input_shape[-1], 3))

    def call(self, inputs, states):
        y = ops.matmul(inputs, self.kernel) + states[0]
        return y, [y]


@pytest.mark.parametrize("make", [Opaque, lambda: L.RNN(Cell(), name="rnn")])
def test_what_is_unknown_is_said(make):
    model = sequential(make(), L.Dense(2), shape=(7, 16))
    with pytest.warns(UserWarning, match="not known, and not counted: 1 x"):
        result = count(model)
    assert result.unknown == [model.layers[0].name]
    assert "unknown" in str(result)
    assert result.layers[0].multiply_adds is None
    assert result.multiply_adds == result.layers[1].multiply_adds > 0


def test_a_rule_of_ones_own():
    before = dict(COUNTS.rules)
    try:

        @count_rule(Opaque)
        def opaque(layer, args, kwargs, outputs):
            return math.prod(outputs[0].shape) * args[0].shape[-1]

        model = sequential(Opaque(), shape=(7, 16))
        assert multiply_adds(model) == 7 * 16 * 3
    finally:
        COUNTS.rules = before


def test_the_report(tmp_path):
    model = sequential(L.Conv2D(4, 3), L.BatchNormalization(), L.Flatten())
    model.layers[0].trainable = False
    result = count(model)
    assert isinstance(result, ModelCount)
    assert all(isinstance(row, LayerCount) for row in result.layers)
    assert result.trainable_parameters == 8
    assert result.parameters == model.count_params() == 148 + 16
    assert result.bytes == 4 * result.parameters
    result.save(tmp_path / "count.json")
    saved = json.loads((tmp_path / "count.json").read_text())
    assert saved == result.to_dict()
    assert saved["layers"][0]["output_shape"] == [6, 4, 4]
    assert saved["multiply_adds"] == result.multiply_adds


def test_bytes_follow_the_dtype_of_the_weights():
    dense = L.Dense(3, use_bias=False, dtype="bfloat16")
    assert count(sequential(dense, shape=(4,))).bytes == 2 * 12


@pytest.mark.parametrize(
    "name,expected",
    [
        ("ResNet50", 3_857_973_248),
        ("MobileNetV2", 300_774_272),
        ("EfficientNetB0", 385_814_752),
    ],
)
def test_published_nets(name, expected):
    """ResNet-50 has 3.86, MobileNetV2 .30, EfficientNetB0 .39 billion."""
    model = symbolic(getattr(keras.applications, name), weights=None)
    assert multiply_adds(model) == expected
