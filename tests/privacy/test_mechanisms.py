"""Adaptive clips, trees of noise, and refusals of their settings."""

import keras
import numpy as np
import pytest
from keras import ops

from tests.helpers import arrays
from tfdeep import privacy
from tfdeep.privacy.adaptive_clipping import multiplier_of_sums
from tfdeep.privacy.averaging import decay_after
from tfdeep.privacy.tree_aggregation import levels_of


def test_the_clip_follows_the_quantile(private, budget, data):
    plan = budget(noise_multiplier=0.0, batch_size=32, steps=1000)
    adaptive = privacy.AdaptiveClipping(quantile=0.5, learning_rate=0.5)
    model = private(plan=plan, mechanism=adaptive, l2_norm_clip=0.01)
    model.optimizer.learning_rate = 0.0
    for _ in range(60):
        model.train_on_batch(*data)
    clip = 0.01 * float(model.mechanism_state[0].numpy())
    (norms,) = arrays([model.per_example_norms(*data)])
    assert np.mean(norms <= clip) == pytest.approx(0.5, abs=0.1)


def test_both_releases_are_as_private_as_one():
    z, count_noise = 1.3, 4.0
    left = multiplier_of_sums(z, count_noise)
    assert left**-2 + (2 * count_noise) ** -2 == pytest.approx(z**-2)
    with pytest.raises(ValueError, match="spend all privacy"):
        multiplier_of_sums(2.0, 1.0)


def run_tree(leaves, restart, draws):
    """The noise of each update of a tree, of one weight."""
    tree = privacy.TreeAggregation(1.0, restart)
    state = [ops.convert_to_tensor(s) for s in tree.initial_state([(2,)])]
    waiting, noise = iter(draws), []
    for _ in range(leaves):
        (value,), state = tree.add_noise(
            [ops.zeros((2,))], [], state, 1.0, lambda _: next(waiting)
        )
        noise.append(arrays([value])[0])
    return np.array(noise)


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
    assert [levels_of(n) for n in (1, 2, 3, 4, 8)] == [1, 2, 2, 3, 4]
    tree = privacy.TreeAggregation(4.0, 8)
    assert tree.epsilon(2, 1e-5) > tree.epsilon(1, 1e-5) > 0


def test_decay_of_the_average():
    assert float(decay_after(0.0, 0.999)) == pytest.approx(0.1)
    assert float(decay_after(1e6, 0.999)) == pytest.approx(0.999)


@pytest.mark.parametrize(
    "make, text",
    [
        (lambda: privacy.GaussianMechanism(-1.0), "noise_multiplier"),
        (lambda: privacy.AdaptiveClipping(quantile=2.0), "quantile"),
        (lambda: privacy.TreeAggregation(1.0, 0), "restart_every"),
        (lambda: privacy.FlatClipping(0.0), "l2_norm_clip"),
        (lambda: privacy.FlatClipping("1"), "l2_norm_clip"),
        (lambda: privacy.FlatClipping(rescaled="False"), "rescaled"),
        (lambda: privacy.AdaptiveClipping(batch_size="a"), "example 256"),
        (lambda: privacy.AutomaticClipping(1.0, stability=0), "stability"),
        (lambda: privacy.Averaging(1.5), "limit"),
    ],
)
def test_settings_out_of_range(make, text):
    with pytest.raises(ValueError, match=text):
        make()


def test_what_does_not_fit_a_plan(private, budget, data):
    tree = privacy.TreeAggregation(1.0, 4)
    model = private(plan=budget(), mechanism=tree)
    with pytest.raises(ValueError, match="came with a plan"):
        model.fit(*data, batch_size=8, verbose=0)
    model = private(plan=budget(), mechanism=privacy.GaussianMechanism(0.1))
    with pytest.raises(ValueError, match="accounted for"):
        model.fit(*data, batch_size=8, verbose=0)
    with pytest.raises(ValueError, match="Nothing says how much noise"):
        private().fit(*data, verbose=0)


def test_a_clip_that_adapts_counts_whole_updates(private):
    optimizer = keras.optimizers.SGD(0.1, gradient_accumulation_steps=2)
    mechanism = privacy.AdaptiveClipping(noise_multiplier=1.0)
    with pytest.raises(ValueError, match="microbatch_size"):
        private(mechanism=mechanism, optimizer=optimizer)
