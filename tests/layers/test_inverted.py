"""Stochastic depth scaled in training, with inference left as it is."""

import keras
import numpy as np
import pytest
from keras import layers

from tests.helpers import arrays, close, flat, gradients, images, training_step
from tests.layers.in_a_row import compare, pair
from tests.layers.test_repeat_survival import KINDS, SURVIVAL
from tfdeep.layers import (
    BasicBlock,
    DropPath,
    PreActivationBlock,
    Recompute,
    Repeat,
    StochasticBlock,
    StochasticDepth,
)
from tfdeep.models import stack, unstack


def seen(layer, x, times=40) -> list:
    """The outputs of some steps in training."""
    step = training_step(layer, training=True)
    return [step(x)[0] for _ in range(times)]


class TestStochasticDepth:
    def make(self, survival):
        branch = layers.Dense(3, activation="tanh")
        layer = StochasticDepth(branch, survival, seed=0, inverted=True)
        layer.build((None, 4))
        return layer, branch

    @pytest.mark.parametrize("survival", [0.0, 0.3, 1.0])
    def test_inference_is_the_branch_with_its_gradients(self, survival):
        layer, branch = self.make(survival)
        x = images(5, 4)
        ours = gradients(layer, x, training=False)
        plain = gradients(branch, x, training=False)
        close(flat(ours), flat(plain), rtol=0, atol=0)

    def test_training_is_b_f_over_p_with_its_gradients(self):
        layer, branch = self.make(0.25)
        x = images(5, 4)
        plain = flat(gradients(branch, x, training=True))
        step, kept = training_step(layer, training=True), 0
        for _ in range(60):
            result = flat(step(x))
            b = bool(np.any(result[0]))
            close(result, [4 * b * each for each in plain])
            kept += b
        assert abs(kept - 15) < 4 * np.sqrt(60 * 0.25 * 0.75)

    def test_the_mean_of_training_is_inference(self):
        layer, _ = self.make(0.5)
        x = images(2, 4)
        mean = np.mean(seen(layer, x, 400), axis=0)
        y = np.asarray(layer(x, training=False))
        assert np.all(np.abs(mean - y) < 4 * np.abs(y) / np.sqrt(400) + 1e-6)

    def test_a_shortcut_is_not_scaled(self):
        branch = layers.Rescaling(3.0)
        layer = StochasticDepth(branch, 0.5, seed=0, inverted=True)
        x = images(2, 3)
        results = [np.array(layer(x, 2 * x, training=True)) for _ in range(20)]
        for y in results:
            kept = not np.allclose(y, 2 * x)
            np.testing.assert_allclose(y, 2 * x + kept * 6 * x, 1e-5)
        np.testing.assert_allclose(
            np.array(layer(x, 2 * x, training=False)), 5 * x, 1e-5
        )

    def test_none_is_kept_and_none_infinite_at_probability_0(self):
        layer, _ = self.make(0.0)
        result = flat(gradients(layer, images(3, 4), training=True))
        assert not any(np.any(value) for value in result)

    def test_half_precision(self):
        branch = layers.Rescaling(3.0, dtype="bfloat16")
        layer = StochasticDepth(branch, 0.5, seed=0, inverted=True)
        x = np.ones((2, 3), "float32")
        found = {float(layer(x, training=True)[0, 0]) for _ in range(20)}
        assert found == {0.0, 6.0}
        assert keras.backend.standardize_dtype(layer(x).dtype) == "bfloat16"

    def test_configurations_tell_it(self):
        layer, _ = self.make(0.5)
        assert StochasticDepth.from_config(layer.get_config()).inverted
        old = {k: v for k, v in layer.get_config().items() if k != "inverted"}
        assert not StochasticDepth.from_config(old).inverted

    @pytest.mark.parametrize("inverted", [None, 1, "yes"])
    def test_another_value_is_refused(self, inverted):
        with pytest.raises(ValueError, match="`inverted`"):
            StochasticDepth(layers.Dense(1), 0.5, inverted=inverted)
        with pytest.raises(ValueError, match="`inverted`"):
            BasicBlock(4, inverted=inverted)
        with pytest.raises(ValueError, match="`inverted`"):
            Repeat(layers.Dense(1), 2, [0.5, 0.5], inverted=inverted)


def test_a_block_is_scaled_about_its_input():
    layer = StochasticBlock(layers.Rescaling(3.0), 0.5, seed=0, inverted=True)
    x = images(2, 3)
    close(arrays([layer(x)]), [3 * x])
    kept = 0
    for _ in range(40):
        y = np.array(layer(x, training=True))
        kept += (b := not np.array_equal(y, x))
        np.testing.assert_allclose(y, x + b * (3 * x - x) / 0.5, 1e-5)
    assert abs(kept - 20) < 4 * np.sqrt(40 * 0.25)


@pytest.mark.parametrize("kind", [BasicBlock, PreActivationBlock])
def test_residual_blocks_take_it(kind):
    x = images(2, 5, 5, 4)
    block = kind(4, survival_probability=0.5, inverted=True, seed=1)
    plain = kind(4, seed=1)
    for each in (block, plain):
        each.build(x.shape)
    for new, old in zip(block.weights, plain.weights, strict=True):
        new.assign(old.value)
    np.testing.assert_array_equal(np.array(block(x)), np.array(plain(x)))
    assert block.branch.inverted
    assert kind.from_config(block.get_config()).inverted


@pytest.mark.parametrize("kind", KINDS)
def test_in_a_loop_it_is_what_it_is_in_a_row(kind):
    make, shape = KINDS[kind]
    ours, row, x = pair(make(), shape, 3, SURVIVAL, seed=2, inverted=True)
    assert all(layer.inverted for layer in row.layers)
    compare(ours, row, x, steps=2)
    compare(ours, row, x, training=False)
    plain, _, _ = pair(make(), shape, 3, None)
    if kind == "other":  # Has no stream of its own to decide with.
        for new, old in zip(plain.weights, ours.weights, strict=True):
            new.assign(old.value)
        close(arrays([ours(x)]), arrays([plain(x)]))


def test_stack_and_unstack_keep_it():
    model = keras.Sequential(
        [
            keras.Input((4,)),
            Repeat(layers.Dense(4), 3, SURVIVAL, seed=1, inverted=True),
            Repeat(
                StochasticDepth(layers.Dense(4), 0.5, inverted=True),
                *(2, [0.5, 0.9]),
            ),
        ]
    )
    plain = unstack(model)
    assert [layer.inverted for layer in plain.layers] == [True] * 5
    again = stack(plain)
    x = images(3, 4)
    for other in (plain, again):
        for training in (True, True, False):
            np.testing.assert_allclose(
                np.array(other(x, training=training)),
                np.array(model(x, training=training)),
                *(1e-5, 1e-6),
            )
        model = unstack(again)  # The streams have moved on: from there.


def test_a_block_without_it_is_no_copy_of_one_with_it():
    blocks = [
        StochasticDepth(layers.Dense(4), 0.5, inverted=inverted)
        for inverted in (True, False)
    ]
    model = stack(keras.Sequential([keras.Input((4,)), *blocks]))
    assert len(model.layers) == 2


class TestTensors:
    """Where a layer is asked for, and its input was given."""

    @pytest.mark.parametrize("form", ["symbol", "array", "tensor", "variable"])
    @pytest.mark.parametrize(
        ("make", "way_out"),
        [
            (lambda x: StochasticDepth(x, 0.5), "add_stochastic_depth"),
            (lambda x: StochasticBlock(x, 0.5), r"Block\(block, 0.5\)\(x\)"),
            (DropPath, "add_drop_path"),
            (Recompute, r"Write Recompute\(layer\)\(x\)"),
            (lambda x: Repeat(x, 3), r"Write Repeat\(layer, 3\)\(x\)"),
        ],
        ids=["depth", "block", "path", "recompute", "repeat"],
    )
    def test_the_message_has_the_way_out(self, make, way_out, form):
        x = {
            "symbol": lambda: keras.Input((4,), batch_size=2),
            "array": lambda: np.ones((2, 4), "float32"),
            "tensor": lambda: keras.ops.ones((2, 4)),
            "variable": lambda: keras.Variable(np.ones((2, 4), "float32")),
        }[form]()
        with pytest.raises(TypeError, match=way_out) as error:
            make(x)
        assert "a tensor of shape (2, 4)" in str(error.value)

    def test_numbers_are_none(self):
        assert DropPath(np.float32(0.5)).rate == 0.5
