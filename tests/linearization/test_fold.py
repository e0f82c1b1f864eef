"""What is linear is folded where that is exact and pays, and nowhere else."""

import json

import keras
import numpy as np
import pytest
from keras import layers, ops

import tfdeep
from tests.helpers import BACKEND, arrays, images, randomize
from tfdeep.layers import GroupedConv2D, SparsePReLU
from tfdeep.linearization import (
    Fold,
    Foldable,
    fold_linear,
    foldable,
    linearize,
)


def chain(shape, *stack):
    """A model with random weights, whose units are all linear."""
    model = keras.Sequential([keras.Input(shape), *stack])
    randomize(model)
    for unit in model.layers:
        if isinstance(unit, SparsePReLU):
            make_linear(unit)
    return model


def make_linear(unit):
    unit.frozen.assign(np.zeros(unit.slopes.shape))
    unit.slopes.assign(np.ones(unit.slopes.shape))
    unit.strength_now.assign(0.0)
    unit.freeze()


def check(model, calls, always=False, **tolerance):
    """Fold, compare the outputs, and count the layers with weights."""
    new = fold_linear(model, always=always)
    x = images(3, *model.input_shape[1:])
    tolerance = {"rtol": 1e-5, "atol": 1e-5, **tolerance}
    expected, actual = (arrays([each(x)])[0] for each in (model, new))
    scale = max(1.0, np.abs(expected).max())
    np.testing.assert_allclose(actual / scale, expected / scale, **tolerance)
    weighted = [each for each in new.layers if each.weights]
    assert len(weighted) == calls, [each.name for each in new.layers]
    return new


def test_dense_layers_with_a_wide_middle():
    model = chain((6,), layers.Dense(40), layers.Dense(5, "tanh"))
    new = check(model, 1)
    assert new.count_params() == 35 and model.count_params() > 400
    narrow = chain((6,), layers.Dense(1), layers.Dense(5))
    check(narrow, 2)
    assert check(narrow, 1, always=True).count_params() == 35


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("strides", [1, 2])
def test_normalization_between_and_pointwise(first, strides):
    axis, shape = (1, (3, 8, 8)) if first else (-1, (8, 8, 3))
    form = {"data_format": "channels_first" if first else "channels_last"}
    model = chain(
        shape,
        layers.Conv2D(16, 3, strides, "same", use_bias=False, **form),
        layers.BatchNormalization(axis),
        SparsePReLU(shared_axes=[2, 3] if first else "spatial"),
        layers.Conv2D(3, 1, **form),
    )
    new = check(model, 1)
    (layer,) = new.layers
    assert layer.use_bias and layer.padding == "same"
    assert layer.kernel_size == (3, 3) and layer.strides == (strides,) * 2


def test_an_inverted_residual_pays_as_a_whole_alone():
    """From 12 c^2 + 54 c weights for each place to 9 c^2."""
    block = [
        layers.Conv2D(48, 1, use_bias=False),
        layers.BatchNormalization(),
        layers.DepthwiseConv2D(3),
        layers.Conv2D(8, 1),
    ]
    model = chain((6, 6, 8), *block)
    new = check(model, 1)
    assert new.layers[0].kernel_size == (3, 3)
    twice = [type(x).from_config(x.get_config()) for x in [*block, *block]]
    for number, layer in enumerate(twice):
        layer.name = f"layer_{number}"
    new = check(chain((20, 20, 8), *twice), 2)  # A 5x5 would cost more again.
    assert [x.kernel_size for x in new.layers] == [(3, 3)] * 2
    pair = chain((6, 6, 8), *block[:3])
    (left,) = foldable(pair).left
    assert "costs more" in left.why


def test_normalization_before_and_after_stays():
    model = chain(
        (6, 6, 3),
        layers.BatchNormalization(),
        layers.Conv2D(12, 1),
        layers.BatchNormalization(),
        layers.Conv2D(3, 3, padding="valid"),
        layers.BatchNormalization(),
    )
    new = check(model, 3)
    kinds = [type(each).__name__ for each in new.layers]
    assert kinds == ["BatchNormalization", "Conv2D", "BatchNormalization"]


@pytest.mark.parametrize(
    ("one", "two"),
    [
        (layers.Conv2D(8, 3), layers.Conv2D(2, 3)),
        (layers.Conv2D(8, 3, 2), layers.Conv2D(2, 3)),
        (layers.Conv2D(8, 3, dilation_rate=2), layers.Conv2D(2, 2)),
        (layers.Conv2D(8, 3, padding="same"), layers.Conv2D(2, 1, 2)),
        (layers.Conv2D(8, 3, 2, "same"), layers.Conv2D(2, 2)),
        (layers.Conv2D(8, 3, groups=2), layers.Conv2D(4, 3, groups=4)),
        (GroupedConv2D(8, 3, groups=4), layers.Conv2D(3, 1)),
        (layers.DepthwiseConv2D(3, depth_multiplier=2), layers.Conv2D(3, 1)),
        (layers.Conv2D(4, 1), layers.DepthwiseConv2D(3, 2)),
        (layers.Conv2D(8, 1, 2), layers.Conv2D(3, 3, dilation_rate=2)),
        (
            layers.Conv2D(4, 1, use_bias=False),
            layers.Conv2D(3, 3, padding="same"),
        ),
    ],
)
def test_convolutions(one, two):
    one, two = (type(x).from_config(x.get_config()) for x in (one, two))
    model = chain((11, 10, 4), one, SparsePReLU(), two)
    new = check(model, 1, always=True)
    assert len(new.layers) <= 2


@pytest.mark.parametrize("rank", [1, 3])
def test_other_ranks(rank):
    conv = {1: layers.Conv1D, 3: layers.Conv3D}[rank]
    stack = [conv(4, 3, padding="same"), conv(2, 2, 2)]
    new = check(chain((6,) * rank + (2,), *stack), 1, always=True)
    assert len(new.layers) == 2  # Zeros that are put there by hand.


def padded():
    return [layers.Conv2D(4, 3), layers.Conv2D(4, 3, padding="same")]


def biased():
    return [layers.Conv2D(8, 1), layers.Conv2D(4, 3, padding="same")]


def shifted():
    conv = layers.Conv2D(8, 1, use_bias=False)
    last = layers.Conv2D(4, 3, padding="same")
    return [conv, layers.BatchNormalization(), last]


def dropped():
    return [layers.Conv2D(8, 1), layers.Dropout(0.5), layers.Conv2D(4, 1)]


def causal():
    return [
        layers.Reshape((36, 4)),
        layers.Conv1D(4, 3, padding="causal"),
        layers.Conv1D(4, 3, padding="causal"),
    ]


def costly():
    return [
        layers.Conv2D(4, 1),
        layers.Conv2D(1, 1, use_bias=False),
        layers.Conv2D(4, 3),
    ]


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (padded, "second one is padded"),
        (biased, "the bias between"),
        (shifted, "the bias between"),
        (dropped, "dropout"),
        (causal, "lie between"),
        (costly, "costs more"),
    ],
)
def test_what_is_left_has_a_reason(make, why):
    always = make is not costly
    model = chain((6, 6, 4), *make())
    reasons = [fold.why for fold in foldable(model, always=always).left]
    assert any(why in reason for reason in reasons), reasons
    if make is not costly:
        count = len([each for each in model.layers if each.weights])
        check(model, count, always=True)


def test_a_tensor_with_another_user_is_kept():
    x = keras.Input((4,))
    y = layers.Dense(30)(x)
    branches = [layers.Dense(4)(y), layers.Dense(2)(y)]
    check_same(keras.Model(x, branches), 3)
    model = keras.Model(x, [y, layers.Dense(4)(y)])
    check_same(model, 2)


def check_same(model, calls):
    new = fold_linear(model)
    x = images(2, *model.input_shape[1:])
    for one, other in zip(arrays(model(x)), arrays(new(x)), strict=True):
        np.testing.assert_allclose(one, other, 1e-5, 1e-6)
    assert len([each for each in new.layers if each.weights]) == calls


@pytest.mark.parametrize("layer_add", [False, True])
def test_a_sum_with_its_own_input(layer_add):
    x = keras.Input((6, 6, 4))
    y = layers.Conv2D(4, 3, padding="same")(x)
    y = layers.BatchNormalization()(y)
    y = layers.Add()([x, y]) if layer_add else x + y
    y = layers.Conv2D(2, 1, activation="relu")(y)
    model = keras.Model(x, y)
    randomize(model)
    new = check(model, 1)
    assert new.count_params() == 9 * 4 * 2 + 2
    y = layers.Conv2D(4, 3, padding="same")(x)
    z = layers.Conv2D(4, 1)(x)
    check(keras.Model(x, layers.Add()([z, y])), 2)


def test_units_that_are_linear_are_left_out_and_others_stay():
    model = chain((4,), layers.Dense(6, "relu"), layers.Dense(3, "relu"))
    new = linearize(model)
    first, second = [x for x in new.layers if isinstance(x, SparsePReLU)]
    assert foldable(new).units == ()
    second.freeze()
    make_linear(first)
    assert foldable(new).units == (first.name,)
    folded = check(new, 2)
    assert [type(x).__name__ for x in folded.layers] == ["Dense", "SparsePReLU"]


def test_nested_shared_and_hand_written():
    nested = chain((4,), layers.Dense(30), layers.Dense(4))
    x = keras.Input((4,))
    model = keras.Model(x, nested(nested(x)))
    new = fold_linear(model)
    y = images(2, 4)
    np.testing.assert_allclose(*arrays([new(y), model(y)]), 1e-4, 1e-5)
    assert new.count_params() == 20
    assert len(foldable(model).folded) == 1

    class Hand(keras.Model):
        def __init__(self):
            super().__init__()
            self.one, self.two = layers.Dense(30), layers.Dense(2)

        def call(self, x):
            return ops.tanh(self.two(self.one(x)))

    model = Hand()
    model(y)
    new = fold_linear(model)
    np.testing.assert_allclose(*arrays([new(y), model(y)]), 1e-5, 1e-5)
    assert new.count_params() == 10


def test_compiled_half_precision_and_files(tmp_path):
    policy = "mixed_bfloat16"
    model = chain(
        (4,), layers.Dense(30, dtype=policy), layers.Dense(2, dtype=policy)
    )
    model.compile("sgd", "mse", jit_compile=BACKEND == "jax")
    new = fold_linear(model)
    assert new.compiled and new.layers[0].dtype_policy.name == policy
    x = images(8, 4)
    np.testing.assert_allclose(
        new.predict(x, verbose=0).astype("float32"),
        model.predict(x, verbose=0).astype("float32"),
        *(0.05, 0.05),
    )
    new.fit(x, images(8, 2), verbose=0)
    new.save(tmp_path / "new.keras")
    loaded = keras.models.load_model(tmp_path / "new.keras")
    np.testing.assert_array_equal(
        loaded.predict(x, verbose=0), new.predict(x, verbose=0)
    )


def test_what_computes_in_its_own_way_is_left():
    class Twice(layers.Dense):
        def call(self, inputs, training=None):
            return 2.0 * super().call(inputs)

    check(chain((4,), Twice(30), layers.Dense(2)), 2)
    model = chain((8,), layers.Dense(32), layers.Dense(8))
    model.layers[0].quantize("int8")
    assert foldable(model).folded == ()


def test_the_report(tmp_path):
    model = chain((9, 9, 4), layers.Conv2D(4, 3), layers.Conv2D(4, 3))
    found = foldable(model)
    assert isinstance(found, Foldable) and not found.left
    (fold,) = found.folded
    assert isinstance(fold, Fold) and fold.multiply_adds == (10656, 10000)
    before, after = (
        tfdeep.models.multiply_adds(each)
        for each in (model, fold_linear(model))
    )
    assert (before, after) == fold.multiply_adds == found.multiply_adds
    assert found.parameters == (296, 404)
    assert "in all 296 -> 404 parameters, 10,656 -> 10,000" in str(found)
    assert found.models[0] is model
    assert all(s > 0 for s in found.measure(images(2, 9, 9, 4), repeats=2))
    with pytest.raises(ValueError, match="repeats"):
        found.measure(images(2, 9, 9, 4), repeats=0)
    assert "become a Conv2D of 5x5" in str(found)
    found.save(tmp_path / "found.json")
    assert json.loads((tmp_path / "found.json").read_text()) == found.to_dict()


def test_the_report_says_so_where_a_cost_is_not_known():
    unknown = keras.Sequential(
        [keras.Input((None, None, 4)), layers.Conv2D(4, 1), layers.Conv2D(2, 1)]
    )
    found = foldable(unknown)
    assert found.multiply_adds is None and len(found.folded) == 1
    assert str(found).endswith("in all 30 -> 10 parameters")


@pytest.mark.parametrize("function", [fold_linear, foldable])
def test_bad_input(function):
    with pytest.raises(TypeError, match=r"keras\.Model"):
        function(layers.Dense(3))
    with pytest.raises(ValueError, match="always"):
        function(chain((3,), layers.Dense(2)), always="yes")
