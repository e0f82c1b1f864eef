"""Average path lengths: closed forms, brute force, walks, any depth."""

import itertools
import json
import math
import time

import keras
import numpy as np
import pytest
from keras import layers, ops

import tfdeep
from tfdeep.layers import SparsePReLU
from tfdeep.linearization import (
    LayerUnits,
    PathLength,
    Paths,
    path_length,
    path_rule,
    sample_path_length,
)


def napl(model):
    return float(path_length(model))


def apl(model):
    return float(path_length(model, normalized=False))


def sparse(*linear, size=4):
    """Units of which those of these numbers are linear."""
    unit = SparsePReLU()
    unit.build((None, size))
    slopes = np.zeros(size)
    slopes[list(linear)] = 1.0
    unit.slopes.assign(slopes)
    unit.freeze()
    return unit


def chain(shares, width=4):
    """Dense layers with units of which a share is active."""
    parts = [keras.Input((5,))]
    for share in shares:
        linear = range(round(width * (1 - share)))
        parts += [layers.Dense(width), sparse(*linear, size=width)]
    return keras.Sequential([*parts, layers.Dense(3)])


def figure_1(active):
    """Four layers of width 4 beside an identity, some wholly active."""
    x = y = keras.Input((4,))
    for number in range(4):
        y = layers.Dense(4, "relu" if number < active else None)(y)
    return keras.Model(x, layers.Add()([x, y]))


def preactivated(blocks, width=4):
    """Blocks of two units each beside an identity, and a last unit."""
    x = inputs = keras.Input((width,))
    for _ in range(blocks):
        y = layers.Dense(width)(layers.ReLU()(x))
        x = layers.Add()([x, layers.Dense(width)(ops.relu(y))])
    return keras.Model(inputs, layers.Dense(3)(layers.ReLU()(x)))


@pytest.mark.parametrize("active", range(5))
def test_figure_1(active):
    model = figure_1(active)
    assert napl(model) == pytest.approx(active / 2)
    assert apl(model) == pytest.approx(256 * active / 257)
    found = path_length(model)
    assert found.log_paths == pytest.approx(math.log(4 * 257))


@pytest.mark.parametrize("depth", [1, 3, 10])
def test_a_plain_net_of_l_units_has_l(depth):
    model = chain([1.0] * depth)
    assert napl(model) == pytest.approx(depth)
    assert apl(model) == pytest.approx(depth)


def test_a_plain_net_has_the_sum_of_its_shares():
    model = chain([0.5, 0.75])
    assert napl(model) == pytest.approx(1.25)
    assert apl(model) == pytest.approx(1.25)


@pytest.mark.parametrize("blocks", [1, 4])
@pytest.mark.parametrize("width", [1, 3])
def test_preactivated_blocks_have_b_and_1(blocks, width):
    model = preactivated(blocks, width)
    assert napl(model) == pytest.approx(blocks + 1)
    square = width**2
    expected = 2 * blocks * square / (1 + square) + 1
    assert apl(model) == pytest.approx(expected)


def test_a_block_activated_after_the_sum():
    """out[c] = (e[c] + mean(e) + s1) / 2 + active2[c]."""
    x = keras.Input((4,))
    y = layers.Dense(4)(sparse(0)(layers.Dense(4)(x)))
    outputs = sparse(1, 2)(layers.Add()([x, y]))
    found = path_length(keras.Model(x, outputs))
    assert float(found) == pytest.approx(0.75 / 2 + 0.5)
    assert [row.active for row in found.layers] == [3, 2]


def test_channels_count_in_a_concatenation_not_branches():
    x = keras.Input((6,))
    u = layers.Dense(2, "relu")(x)
    v = layers.Dense(3, "relu")(x)
    v = sparse(1, 2, size=3)(layers.Dense(3)(v))
    joined = layers.Concatenate()([u, v])
    model = keras.Model(x, layers.Dense(1)(joined))
    assert napl(model) == pytest.approx(1.2)
    assert napl(keras.Model(x, joined)) == pytest.approx(1.2)


def test_one_sum_of_three_is_not_two_sums():
    def terms():
        x = keras.Input((2,))
        f, g = layers.Dense(2, "relu")(x), x
        for _ in range(3):
            g = layers.Dense(2, "relu")(g)
        return x, f, g

    x, f, g = terms()
    assert napl(keras.Model(x, layers.Add()([x, f, g]))) == pytest.approx(4 / 3)
    one = apl(keras.Model(x, layers.Add()([x, f, g])))
    nested = keras.Model(x, x + f + g)
    assert napl(nested) == pytest.approx(7 / 4)
    assert apl(nested) == pytest.approx(one)


def units_of_all_paths(masks):
    """The units on each path through a chain of layers."""
    return [
        sum(mask[c] for mask, c in zip(masks, channels, strict=True))
        for channels in itertools.product(*(range(len(m)) for m in masks))
    ]


def test_paths_are_counted_as_by_hand():
    masks = [(1, 0, 1), (0, 0), (1, 1, 1, 0)]
    parts = [keras.Input((2,))]
    for mask in masks:
        linear = [i for i, on in enumerate(mask) if not on]
        parts += [layers.Dense(len(mask)), sparse(*linear, size=len(mask))]
    model = keras.Sequential([*parts, layers.Dense(2)])
    assert apl(model) == pytest.approx(np.mean(units_of_all_paths(masks)))
    assert path_length(model).log_paths == pytest.approx(
        math.log(2 * 3 * 2 * 4 * 2)
    )


def images_net(data_format="channels_last"):
    """Groups, depthwise, normalization, pooling, flattening, padding."""
    first = data_format == "channels_first"
    axis = 1 if first else -1
    shape = (4, 8, 8) if first else (8, 8, 4)
    x = inputs = keras.Input(shape)
    conv = {"padding": "same", "data_format": data_format}
    x = layers.Conv2D(4, 3, activation="relu", **conv)(x)
    left = layers.Conv2D(4, 3, groups=2, **conv)(x)
    left = unit(first, 0)(layers.BatchNormalization(axis)(left))
    right = layers.DepthwiseConv2D(3, depth_multiplier=2, **conv)(x)
    right = layers.SeparableConv2D(4, 3, activation="relu", **conv)(right)
    x = layers.Concatenate(axis)([left, right])
    x = layers.AveragePooling2D(2, data_format=data_format)(x)
    x = layers.Dropout(0.5)(x)
    x = layers.Add()([x, layers.Conv2D(8, 1, activation="elu", **conv)(x)])
    y = layers.Flatten(data_format)(x)
    x = layers.GlobalAveragePooling2D(data_format)(x)
    return keras.Model(inputs, [layers.Dense(2)(y), layers.Dense(3)(x)])


def unit(first, *linear):
    layer = SparsePReLU(shared_axes=[2, 3] if first else "spatial")
    layer.build((None, 4, 8, 8) if first else (None, 8, 8, 4))
    slopes = np.zeros(4)
    slopes[list(linear)] = 1.0
    layer.slopes.assign(slopes.reshape(layer.slopes.shape))
    layer.freeze()
    return layer


def test_layers_of_images():
    last, first = images_net(), images_net("channels_first")
    for function in (napl, apl):
        assert function(first) == pytest.approx(function(last))
    # Left 1 + 3/4, right 2; half of the paths pass an ELU besides.
    assert napl(last) == pytest.approx((1.75 + 2) / 2 + 0.5)


@pytest.mark.parametrize(
    "make", [lambda: images_net(), lambda: preactivated(5), lambda: figure_1(3)]
)
def test_random_walks_agree(make):
    model = make()
    mean, error = sample_path_length(model, walks=1500, seed=0)
    assert 0 < error < 0.1
    assert abs(mean - napl(model)) < 4 * error
    assert sample_path_length(model, 1500, 0) == (mean, error)


def test_walks_of_a_densenet_agree():
    model = tfdeep.models.DenseNet(10, growth_rate=4, input_shape=(8, 8, 3))
    mean, error = sample_path_length(model, walks=600, seed=1)
    assert abs(mean - napl(model)) < 4 * error


def test_our_nets_are_looked_into():
    """Each block of He's net: half of the paths pass its first unit."""
    net = tfdeep.models.ResNet(8, input_shape=(8, 8, 3), shortcut="C")
    assert napl(net) == pytest.approx(1 + 3 * (0.5 + 1))
    rows = path_length(net).layers
    assert len(rows) == 7 and rows[1].path.count("/") >= 1


def test_zeros_of_a_shortcut_begin_no_path():
    """The padded half takes all of its paths through the branch."""
    net = tfdeep.models.ResNet(8, input_shape=(8, 8, 3), shortcut="A")
    e = np.array([1.5 + 1])  # After the stem and a block.
    for _ in range(2):
        kept, padded = (e + e.mean() + 1) / 2, np.full(len(e), e.mean() + 1)
        e = np.concatenate([kept, padded]) + 1
    assert napl(net) == pytest.approx(e.mean())


def test_a_repeat_counts_each_copy():
    inner = layers.Dense(4, "relu")
    net = keras.Sequential([keras.Input((4,)), tfdeep.layers.Repeat(inner, 5)])
    assert napl(net) == pytest.approx(5)


def test_shared_nested_and_hand_written():
    block = keras.Sequential([keras.Input((4,)), layers.Dense(4, "relu")])
    x = keras.Input((4,))
    assert napl(keras.Model(x, block(block(x)))) == pytest.approx(2)

    class Hand(keras.Model):
        def __init__(self):
            super().__init__()
            self.one, self.two = layers.Dense(3), layers.Dense(2, "softmax")

        def call(self, x):
            return self.two(ops.relu(ops.tanh(self.one(x))))

    model = Hand()
    model(np.zeros((1, 4)))
    assert napl(model) == pytest.approx(2)


@pytest.mark.parametrize(
    ("last", "expected"),
    [("softmax", 0), ("sigmoid", 0), ("tanh", 0), ("relu", 1), (None, 0)],
)
def test_what_is_applied_to_an_output(last, expected):
    net = keras.Sequential([keras.Input((4,)), layers.Dense(3, last)])
    assert napl(net) == expected
    softmax = [layers.Dense(3), layers.Softmax(), layers.Dense(3)]
    net = keras.Sequential([keras.Input((4,)), *softmax])
    assert napl(net) == 0


def test_slopes_of_each_position_count_with_their_share():
    layer = SparsePReLU(shared_axes=[])
    layer.build((None, 2, 2, 3))
    slopes = np.zeros((2, 2, 3))
    slopes[0, :, 0] = 1.0
    layer.slopes.assign(slopes)
    layer.freeze()
    model = keras.Sequential([keras.Input((2, 2, 3)), layer])
    found = path_length(model)
    assert float(found) == pytest.approx((0.5 + 1 + 1) / 3)
    assert (found.units, found.active) == (12, 10)


def deep(depth, width=8):
    x = inputs = keras.Input((width,))
    for _ in range(depth):
        y = layers.Dense(width)(layers.ReLU()(x))
        x = layers.Add()([x, layers.Dense(width)(layers.ReLU()(y))])
    return keras.Model(inputs, x)


@pytest.mark.slow
def test_a_thousand_layers_take_seconds():
    """500 blocks, whose paths are more than a float can count."""
    model = deep(160)
    block = keras.Model(model.inputs, model.outputs)
    x = keras.Input((8,))
    whole = keras.Model(x, block(block(block(x))))
    start = time.process_time()
    found = path_length(whole)
    assert time.process_time() - start < 20
    assert float(found) == pytest.approx(480)
    assert found.log_paths > 1000 and len(found.layers) == 960
    raw = path_length(whole, normalized=False)
    assert float(raw) == pytest.approx(2 * 480 * 64 / 65)


def test_the_report():
    found = path_length(chain([0.5], width=2))
    assert isinstance(found, PathLength)
    (row,) = found.layers
    assert isinstance(row, LayerUnits) and (row.units, row.active) == (2, 1)
    assert str(found).endswith("average path length 0.500")
    assert json.loads(json.dumps(found.to_dict()))["average"] == 0.5


def test_the_report_is_saved(tmp_path):
    found = path_length(chain([1.0]))
    found.save(tmp_path / "found.json")
    assert json.loads((tmp_path / "found.json").read_text()) == found.to_dict()


def gated():
    x = keras.Input((4,))
    return keras.Model(x, layers.Multiply()([layers.Dense(4)(x), x]))


def multiplied():
    x = keras.Input((4,))
    return keras.Model(x, layers.Dense(4)(x) * x)


def attending():
    x = keras.Input((5, 4))
    return keras.Model(x, layers.MultiHeadAttention(2, 2)(x, x))


def recurrent():
    return keras.Sequential([keras.Input((5, 4)), layers.LSTM(3)])


def spread():
    parts = [layers.Dense(4, "relu"), sparse(0), layers.Reshape((2, 2))]
    return keras.Sequential([keras.Input((4,)), *parts])


@pytest.mark.parametrize(
    "make", [gated, multiplied, attending, recurrent, spread]
)
def test_what_is_unknown_is_refused(make):
    with pytest.raises(ValueError, match="path_rule"):
        path_length(make())


def test_a_rule_of_ones_own():
    @path_rule("tests>Gated")
    def gate(call, x):
        assert isinstance(x, Paths)
        return x.mixed(call.outputs[0].shape[-1]).through()

    @keras.saving.register_keras_serializable(package="tests")
    class Gated(layers.Layer):
        def call(self, x):
            return x * ops.sigmoid(ops.flip(x))

    net = keras.Sequential([keras.Input((4,)), Gated(), layers.Dense(2)])
    assert napl(net) == 1

    class Other(Gated):
        def call(self, x):
            return x * x

    net = keras.Sequential([keras.Input((4,)), Other(), layers.Dense(2)])
    with pytest.raises(ValueError, match="path_rule"):
        path_length(net)


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: path_length(layers.Dense(3)), TypeError, "keras.Model"),
        (lambda: path_length(figure_1(1), "yes"), ValueError, "normalized"),
        (lambda: sample_path_length(figure_1(1), 1), ValueError, "walks"),
        (lambda: sample_path_length(figure_1(1), 9, -1), ValueError, "seed"),
        (lambda: path_rule(3), TypeError, "path_rule"),
    ],
)
def test_bad_input(call, kind, message):
    with pytest.raises(kind, match=message):
        call()
