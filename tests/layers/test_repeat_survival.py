"""Stochastic depth inside the loop, and around a block of one's own."""

import keras
import numpy as np
import pytest
from keras import layers

from tests.helpers import (
    BACKEND,
    Probe,
    activity_penalty,
    arrays,
    close,
    gradients,
    images,
    randomize,
    training_step,
)
from tests.layers.in_a_row import compare, near, noisy, pair
from tfdeep.layers import (
    BasicBlock,
    PreActivationBlock,
    Repeat,
    StochasticBlock,
    StochasticDepth,
    linear_survival,
)
from tfdeep.layers.copies import copies

STEPS = 300
# JAX computes again for the backward pass what costs little: the probe, too.
PASSES = {"tensorflow": 1, "jax": 2}[BACKEND]
KINDS = {
    "after": (lambda: BasicBlock(4, seed=1), (5, 5, 4)),
    "before": (lambda: PreActivationBlock(4, shortcut="C", seed=1), (5, 5, 4)),
    "branch": (lambda: StochasticDepth(noisy(), 1.0, seed=1), (4,)),
    "other": (noisy, (4,)),
}
SURVIVAL = [0.5, 0.8, 0.3]


def pair_of(kind, recompute):
    make, shape = KINDS[kind]
    return pair(make(), shape, 3, SURVIVAL, recompute=recompute, seed=2)


@pytest.mark.parametrize(
    ("kind", "recompute"),
    [
        ("after", False),
        ("after", True),
        ("before", False),
        ("branch", True),
        ("other", False),
        ("other", True),
    ],
)
def test_equals_the_layers_in_a_row(kind, recompute):
    ours, row, x = pair_of(kind, recompute)
    assert [
        getattr(layer, "survival_probability", None) for layer in row.layers
    ] == SURVIVAL
    compare(ours, row, x, steps=3)
    compare(ours, row, x, training=False)


@pytest.mark.slow
@pytest.mark.tensorflow  # On JAX the test above is compiled.
@pytest.mark.parametrize(
    ("kind", "recompute"),
    [("after", True), ("branch", False), ("other", True)],
)
def test_equals_them_in_a_graph(kind, recompute, float64):
    compare(*pair_of(kind, recompute), compiled=True, steps=3)


@pytest.mark.jax
def test_equals_them_without_jit():
    compare(*pair_of("after", True), compiled=False, steps=3)


def test_a_copy_that_is_always_kept_has_nothing_to_decide():
    ours = Repeat(BasicBlock(4, seed=1), 3, [1.0, 0.0, 1.0])
    ours.build((None, 5, 5, 4))
    randomize(ours)
    row, x = keras.Sequential(copies(ours)), images(6, 5, 5, 4)
    for training in (True, False):
        near(
            arrays([ours(x, training=training)]),
            arrays([row(x, training=training)]),
        )


def test_dropped_copies_are_not_computed():
    survival = [0.9, 0.5, 0.2]
    block = keras.Sequential([layers.Dense(3), Probe()])
    layer = Repeat(block, 3, survival, seed=0)
    layer.build((4, 3))
    (probe,) = (
        part
        for part in layer.template.layer.layer.layers
        if isinstance(part, Probe)
    )
    step, x = training_step(layer, compiled=True, training=True), images(4, 3)
    kept = np.zeros(3)
    for _ in range(STEPS):
        before = probe.count["backward"]
        _, _, (by_kernel, *_) = step(x)
        ran = np.any(by_kernel, axis=(1, 2))
        assert probe.count["backward"] - before == ran.sum()
        assert probe.count["forward"] == PASSES * probe.count["backward"]
        kept += ran
    deviation = np.sqrt(STEPS * np.array(survival) * (1 - np.array(survival)))
    assert np.all(np.abs(kept - STEPS * np.array(survival)) < 4 * deviation)


def test_state_stands_still_where_a_copy_is_dropped():
    layer = Repeat(noisy(), 2, [0.0, 1.0], seed=0)
    layer.build((None, 4))
    before = arrays(layer.weights)
    layer(images(6, 4), training=True)
    after = arrays(layer.weights)
    moved = [
        np.any(a != b, axis=1)
        for a, b in zip(after, before, strict=True)
        if a.ndim == 2
    ]
    assert not any(first for first, _ in moved)
    assert any(second for _, second in moved)


def test_survival_of_one_is_the_plain_layer():
    x = images(6, 5, 5, 4)
    ours, plain = (
        gradients(Repeat(BasicBlock(4, seed=1), 3, survival), x, training=True)
        for survival in ([1.0] * 3, None)
    )
    near(ours[:2], plain[:2])
    near(ours[2], plain[2])


def test_a_block_without_shortcut_is_refused():
    with pytest.raises(ValueError, match="needs a shortcut"):
        Repeat(BasicBlock(4, shortcut="none"), 2, [0.5, 0.5])


class TestStochasticBlock:
    def test_training_runs_the_block_or_hands_on_its_input(self):
        layer = StochasticBlock(layers.Rescaling(3.0), 0.3, seed=0)
        x = images(2, 3)
        results = [np.array(layer(x, training=True)) for _ in range(200)]
        kept = [np.array_equal(y, x * np.float32(3)) for y in results]
        for y, is_kept in zip(results, kept, strict=True):
            np.testing.assert_array_equal(
                y, x * np.float32(3) if is_kept else x
            )
        assert abs(sum(kept) - 60) < 4 * np.sqrt(200 * 0.3 * 0.7)

    def test_inference_is_the_expectation(self):
        layer = StochasticBlock(layers.Rescaling(3.0), 0.3)
        x = images(2, 3)
        close(arrays([layer(x)]), [0.3 * 3 * x + 0.7 * x])

    def test_losses_of_the_block_are_handed_on(self):
        block = layers.Dense(3, activity_regularizer="l2")
        layer = StochasticBlock(block, 0.5, seed=0)
        losses = []
        for _ in range(20):
            y = layer(images(2, 3), training=True)
            losses.append((float(sum(layer.losses)), np.array(y)))
        expected = [
            activity_penalty(0.01 * np.sum(y**2), 2)
            if not np.array_equal(y, images(2, 3))
            else 0.0
            for _, y in losses
        ]
        close([np.array([loss for loss, _ in losses])], [np.array(expected)])
        assert 0.0 in expected and max(expected) > 0

    def test_a_block_that_changes_the_shape_is_refused(self):
        layer = StochasticBlock(layers.Dense(5), 0.5)
        with pytest.raises(ValueError, match=r"output of shape \(2, 5\)"):
            layer(images(2, 3))


def test_linear_survival_fits():
    layer = Repeat(layers.Dense(4), 4, linear_survival(4))
    assert layer.get_config()["survival_probabilities"] == [
        0.875,
        0.75,
        0.625,
        0.5,
    ]
