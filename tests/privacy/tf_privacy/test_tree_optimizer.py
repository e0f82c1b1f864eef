"""The optimizer of DP-FTRL: the noise of a tree, with restarts or without."""

import keras
import numpy as np
import pytest
from keras import ops

from tests.privacy.tf_privacy.made import TREE, gradient, made, weight
from tfdeep.privacy import PrivateModel

pytestmark = pytest.mark.slow


def deviation(updates, period=None):
    """That of the sum of the noise of so many updates.

    It is the noise of one node for each bit of their number; a node of height
    d has a variance of 1 / (2 - 2^-d), after Honaker. With restarts the sums
    of whole trees add up.
    """

    def variance(leaves):
        bits = [d for d in range(4) if leaves >> d & 1]
        return sum(1 / (2 - 2.0**-d) for d in bits)

    whole, rest = divmod(updates, period) if period else (0, updates)
    return (whole * variance(period or 0) + variance(rest)) ** 0.5


@pytest.mark.parametrize("period", [None, 3])
def test_noise_is_that_of_the_sum_of_all_steps(period):
    size = 4_000
    w = keras.Variable(np.zeros(size, "float32"))
    zero = lambda: ops.zeros((1,)) * ops.sum(w.value)  # noqa: E731
    optimizer = made(
        TREE, 1.0, 1.0, var_list_or_model=[[size]], restart_period=period
    )
    total, found = np.zeros(size), []
    for _ in range(8):
        total += np.array(optimizer._compute_gradients(zero, [w])[0][0])
        found.append(np.std(total))
    expected = [deviation(updates, period) for updates in range(1, 9)]
    # A deviation of what is measured is 1.1 %.
    np.testing.assert_allclose(found, expected, rtol=0.06)
    if period:  # A tree of 3 leaves has 2 levels, and room for two more.
        held = [v.shape[0] for v in optimizer.variables if len(v.shape) == 2]
        assert max(held) <= 4


def test_noise_of_a_seed_can_be_repeated():
    found = [
        gradient(made(TREE, 1, 1, noise_seed=seed), weight())
        for seed in (5, 5, 6)
    ]
    np.testing.assert_array_equal(*found[:2])
    assert not np.any(found[1] == found[2])


@pytest.mark.parametrize("period", [None, 4])
def test_a_private_model_draws_the_same_noise(period):
    base = keras.Sequential(
        [keras.Input((50,)), keras.layers.Dense(80, use_bias=False)]
    )
    optimizer = made(
        TREE,
        1.0,
        1.0,
        var_list_or_model=base,
        restart_period=period,
        learning_rate=1.0,
    )
    model = PrivateModel(base)
    model.compile(optimizer, "mse")
    x, y = np.ones((4, 50), "float32"), np.ones((4, 80), "float32")
    start, found = base.get_weights()[0], []
    for _ in range(8):
        model.train_on_batch(x, y, np.zeros(4, "float32"))
        found.append(np.std(4 * (base.get_weights()[0] - start)))
    expected = [deviation(updates, period) for updates in range(1, 9)]
    np.testing.assert_allclose(found, expected, rtol=0.06)


def test_a_config_keeps_the_restarts():
    optimizer = made(TREE, restart_period=3, restart_warmup=2, noise_seed=7)
    config = optimizer.get_config()
    again = type(optimizer).from_config(config)
    for made_again in (config, again.get_config()):
        assert made_again["restart_period"] == 3
        assert made_again["restart_warmup"] == 2
        assert made_again["noise_seed"] == 7
        assert made_again["var_list_or_model"] == [[3]]


def test_what_is_no_tree_for_the_model_is_refused():
    model = keras.Sequential([keras.layers.Dense(1)])
    with pytest.raises(ValueError, match="must be built"):
        made(TREE, var_list_or_model=model)
    with pytest.raises(ValueError, match="restart_period"):
        made(TREE, restart_warmup=2)
