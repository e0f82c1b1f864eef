"""The noise of a binary tree: few nodes for each prefix, and their price."""

import numpy as np
import pytest
from keras import layers, ops

from tests.helpers import arrays
from tfdeep import privacy
from tfdeep.privacy.tree_aggregation import levels_of


def run_tree(leaves, restart, draws):
    """The noise of each update of a tree, of one weight."""
    tree = privacy.TreeAggregation(1.5, restart)
    state = [ops.convert_to_tensor(s) for s in tree.initial_state([(2,)])]
    waiting, noise = iter(draws), []
    for _ in range(leaves):
        (value,), state = tree.add_noise(
            [ops.zeros((2,))], [], state, 2.0, lambda _: next(waiting)
        )
        noise.append(arrays([value])[0])
    return np.array(noise) / 3.0


@pytest.mark.parametrize("restart", [100, 4])
def test_prefix_sums_carry_the_noise_of_few_nodes(restart):
    random = np.random.default_rng(0)
    draws = random.normal(size=(9, 2)).astype("float32")
    noise = run_tree(9, restart, [ops.convert_to_tensor(d) for d in draws])
    for t in range(1, 10):
        done, rest = divmod(t, restart)
        expected = np.zeros(2)
        for tree in range(done + 1):
            leaves = restart if tree < done else rest
            # The node made with leaf i covers it and 2^l - 1 before it.
            position = 0
            for level in reversed(range(leaves.bit_length())):
                if leaves >> level & 1:
                    position += 2**level
                    expected = expected + draws[tree * restart + position - 1]
        np.testing.assert_allclose(
            noise[:t].sum(axis=0), expected, rtol=1e-4, atol=1e-5
        )


def test_privacy_of_a_tree():
    """rho = trees levels / (2 sigma^2), epsilon = rho + 2 sqrt(rho ln 1/d)."""
    assert [levels_of(n) for n in (1, 2, 3, 4, 8)] == [1, 2, 2, 3, 4]
    tree = privacy.TreeAggregation(4.0, 8)
    for trees in (1, 3):
        rho = trees * 4 / (2 * 4.0**2)
        expected = rho + 2 * np.sqrt(rho * np.log(1e5))
        assert tree.epsilon(trees, 1e-5) == pytest.approx(expected)
    assert privacy.TreeAggregation(0.0, 8).epsilon(1, 1e-5) == float("inf")


def test_noise_in_training_takes_back_what_it_added(private):
    """After two updates the weights have the noise of one node."""
    tree = privacy.TreeAggregation(1.0, 100)
    model = private(layers.Dense(300), mechanism=tree, seed=1)
    model.optimizer.learning_rate = 1.0
    start = np.concatenate([w.ravel() for w in model.base.get_weights()])
    x, y = np.zeros((8, 8), "float32"), np.zeros(8, "int32")
    spread = []
    for _ in range(4):
        model.train_on_batch(x, y, np.zeros(8, "float32"))
        now = np.concatenate([w.ravel() for w in model.base.get_weights()])
        spread.append(8 * np.std(now - start))
    # Of 3,057 weights: a deviation of what is measured is 1.3 %.
    np.testing.assert_allclose(spread, np.sqrt([1, 1, 2, 1]), rtol=0.06)
