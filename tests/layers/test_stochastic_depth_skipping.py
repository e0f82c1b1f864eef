"""A dropped branch is not computed, and nothing inside it moves."""

import keras
import numpy as np
import pytest

from tests.helpers import (
    BACKEND,
    Probe,
    arrays,
    close,
    flat,
    gradients,
    images,
    training_step,
)
from tfdeep.layers import StochasticDepth

STEPS = 400
# JAX computes again for the backward pass what costs little: the probe, too.
PASSES = {"tensorflow": 1, "jax": 2}[BACKEND]
compiled = pytest.mark.parametrize("compiled", [False, True])


def stateful_branch():
    return keras.Sequential(
        [
            keras.layers.Dense(5),
            keras.layers.BatchNormalization(),
            keras.layers.Dropout(0.5, seed=3),
            keras.layers.Dense(3),
        ]
    )


def one_step_of_each(branch, compiled, **kwargs):
    """A dropped and a kept step: `(result, state before, state after)`."""
    layer = StochasticDepth(branch, 0.5, seed=0)
    x = images(6, 4)
    layer.build(x.shape)
    step = training_step(layer, compiled, training=True, **kwargs)
    found = {}
    while len(found) < 2:
        before = arrays(branch.non_trainable_variables)
        result = step(x)
        after = arrays(branch.non_trainable_variables)
        found[bool(np.any(result[0]))] = (result, before, after)
    return x, found[False], found[True]


@pytest.mark.parametrize("survival", [0.3, 0.8])
def test_the_dropped_branch_runs_neither_forward_nor_backward(survival):
    probe = Probe()
    branch = keras.Sequential([keras.layers.Dense(3), probe])
    layer = StochasticDepth(branch, survival, seed=1)
    layer.build((4, 3))
    step = training_step(layer, compiled=True, training=True)
    x = images(4, 3)
    kept = 0
    for _ in range(STEPS):
        y, _, _ = step(x)
        kept += bool(np.any(y))
        assert probe.count == {"forward": PASSES * kept, "backward": kept}
    # Four standard deviations of a binomial.
    bound = 4 * np.sqrt(STEPS * survival * (1 - survival))
    assert abs(kept - STEPS * survival) < bound


def test_the_dropped_branch_is_not_computed_in_fit():
    probe = Probe()
    inputs = keras.Input((3,))
    branch = keras.Sequential([keras.layers.Dense(3), probe])
    outputs = inputs + StochasticDepth(branch, 0.5, seed=1)(inputs)
    model = keras.Model(inputs, outputs)
    # XLA on TensorFlow does not take the Python function that counts.
    model.compile("sgd", "mse", jit_compile=BACKEND == "jax")
    model.fit(images(100, 3), images(100, 3), batch_size=1, verbose=0)
    assert 30 < probe.count["backward"] < 70
    assert probe.count["forward"] == PASSES * probe.count["backward"]


@compiled
def test_state_moves_only_when_the_branch_is_kept(compiled):
    _, (_, *dropped), (_, *kept) = one_step_of_each(stateful_branch(), compiled)
    assert len(dropped[0]) == 3  # Mean, variance and the dropout's seed.
    for before, after in zip(*dropped, strict=True):
        np.testing.assert_array_equal(before, after)
    for before, after in zip(*kept, strict=True):
        assert np.any(before != after)


@compiled
def test_kept_state_and_output_are_those_of_the_plain_branch(compiled):
    branch = stateful_branch()
    x, _, (result, before, after) = one_step_of_each(branch, compiled)
    for variable, value in zip(
        branch.non_trainable_variables, before, strict=True
    ):
        variable.assign(value)
    plain = gradients(branch, x, compiled, training=True)
    close(
        [*flat(result), *after],
        [*flat(plain), *arrays(branch.non_trainable_variables)],
    )


@compiled
def test_gradients_are_exactly_zero_when_dropped(compiled):
    _, (result, *_), _ = one_step_of_each(stateful_branch(), compiled)
    y, dx, weight_gradients = result
    assert len(weight_gradients) == 6
    for value in [y, dx, *weight_gradients]:
        assert not np.any(value)


@compiled
def test_an_activity_loss_counts_only_when_kept(compiled):
    branch = keras.layers.Dense(
        3, activity_regularizer=keras.regularizers.L2(1)
    )
    x, (dropped, *_), (kept, *_) = one_step_of_each(
        branch, compiled, losses=True
    )
    plain = gradients(branch, x, losses=True, training=True)
    assert not np.any(dropped[1])
    np.testing.assert_allclose(kept[1], plain[1], rtol=1e-5)
    without = gradients(branch, x, training=True)
    assert np.any(np.abs(plain[1] - without[1]) > 1e-2)


def test_a_weight_penalty_counts_once_kept_or_dropped():
    branch = keras.layers.Dense(3, kernel_regularizer=keras.regularizers.L2(1))
    _, (dropped, *_), (kept, *_) = one_step_of_each(branch, False, losses=True)
    kernel = arrays([branch.kernel])[0]
    np.testing.assert_allclose(dropped[2][0], 2 * kernel, rtol=1e-6)
    x = images(6, 4)
    plain = gradients(branch, x, losses=True, training=True)
    np.testing.assert_allclose(kept[2][0], plain[2][0], rtol=1e-5)


def test_models_nest():
    """A model in a branch, in a model, in a model, trained by `fit`."""
    inner = stateful_branch()
    inputs = keras.Input((4,))
    branch = keras.Model(inputs, keras.layers.Dense(4)(inner(inputs)))
    layer = StochasticDepth(branch, 0.5, seed=0)
    block = keras.Model(inputs, inputs + layer(inputs))
    model = keras.Model(inputs, block(inputs))
    model.compile("sgd", "mse")
    before = arrays(inner.non_trainable_variables)
    model.fit(images(64, 4), images(64, 4), batch_size=4, verbose=0)
    after = arrays(inner.non_trainable_variables)
    assert all(np.any(a != b) for a, b in zip(after, before, strict=True))
    x = images(5, 4, seed=1)
    expected = x + 0.5 * np.asarray(branch(x))
    np.testing.assert_allclose(
        model.predict(x, verbose=0), expected, rtol=1e-5, atol=1e-6
    )


def test_equal_seeds_drop_together_and_others_do_not():
    def decisions(seed):
        layer = StochasticDepth(keras.layers.Dense(1), 0.5, seed=seed)
        layer.build((1, 1))
        step = training_step(layer, training=True)
        return [bool(np.any(step(images(1, 1))[0])) for _ in range(40)]

    assert decisions(1) == decisions(1)
    assert decisions(1) != decisions(2)
