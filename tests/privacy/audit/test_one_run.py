"""Epsilon from one run: the theorem, sum by sum, and bounds that hold."""

import math

import numpy as np
import pytest

from tfdeep.privacy.audit import (
    epsilon_lower_bound,
    epsilon_of_guesses,
    gaussian_epsilon,
    one_run,
)
from tfdeep.privacy.audit.one_run import chance


def binomial(trials, p, k):
    return math.comb(trials, k) * p**k * (1 - p) ** (trials - k)


def slow_chance(correct, guesses, canaries, epsilon, delta):
    """Theorem 5.2, term by term."""
    p = math.exp(epsilon) / (1 + math.exp(epsilon))
    mass = [binomial(guesses, p, k) for k in range(guesses + 1)]
    beyond = sum(mass[correct:])
    worst = max(
        (
            sum(mass[max(0, correct - i) : correct]) / i
            for i in range(1, canaries + 1)
        ),
        default=0.0,
    )
    return min(1.0, beyond + 2 * canaries * delta * worst)


@pytest.mark.parametrize("correct", [0, 3, 12, 20])
@pytest.mark.parametrize("epsilon", [0.0, 1.0, 4.0])
def test_chance_is_the_theorem(correct, epsilon):
    ours = chance(correct, 20, 60, epsilon, 1e-3)
    theirs = slow_chance(correct, 20, 60, epsilon, 1e-3)
    assert ours == pytest.approx(theirs, rel=1e-9)


def test_more_right_guesses_give_more():
    bounds = [epsilon_of_guesses(v, 100, 1000, 1e-5) for v in (50, 80, 95, 100)]
    assert bounds == sorted(bounds)
    assert bounds[0] == 0.0


def test_a_bound_just_holds():
    bound = epsilon_of_guesses(90, 100, 1000, 1e-5, 0.95)
    assert chance(90, 100, 1000, bound - 1e-6, 1e-5) < 0.05
    assert chance(90, 100, 1000, bound + 1e-6, 1e-5) >= 0.05


def coins(seed, count=2000):
    rng = np.random.default_rng(seed)
    return rng, rng.random(count) < 0.5


def test_bounds_of_correct_noise_stay_below_the_claim():
    bounds = []
    for seed in range(20):
        rng, included = coins(seed)
        scores = included + rng.normal(size=2000)
        bounds.append(epsilon_lower_bound(scores, included, 1e-5))
    claim = gaussian_epsilon(1.0, 1e-5)
    assert max(bounds) < claim
    # It finds something, too: the method's own bounds are 1.3 to 1.8.
    assert np.median(bounds) > 0.9


def test_bound_of_forgotten_clipping_exceeds_the_claim():
    rng, included = coins(0)
    scores = 20 * included + rng.normal(size=2000)
    assert epsilon_lower_bound(scores, included, 1e-5) > 4.4


def test_scores_of_guessing_give_nothing():
    bounds = []
    for seed in range(20):
        rng, included = coins(seed)
        scores = rng.normal(size=2000)
        bounds.append(epsilon_lower_bound(scores, included, 1e-5))
    assert sum(bound > 0.0 for bound in bounds) <= 3


def test_scores_that_are_no_numbers_count_as_the_lowest():
    _, included = coins(0)
    scores = np.where(included, 1.0, np.nan)
    assert epsilon_lower_bound(scores, included, 1e-5) > 4.0


def test_one_run_gives_coins_and_judges():
    seen = []

    def train(included):
        seen.append(included)
        return included.astype(float)

    report = one_run(train, 500, 1e-5, claim=1.0, seed=3)
    assert seen[0].dtype == bool and 150 < seen[0].sum() < 350
    assert not report.passed
    assert one_run(train, 500, 1e-5, seed=3).passed  # Nothing is claimed.


@pytest.mark.parametrize(
    ("scores", "included", "match"),
    [
        ([1.0], [1.0], "boolean"),
        ([1.0, 2.0], [True], "shape"),
        ([], np.zeros(0, bool), "shape"),
    ],
)
def test_bad_scores_are_refused(scores, included, match):
    with pytest.raises(ValueError, match=match):
        epsilon_lower_bound(scores, np.array(included), 1e-5)


def test_too_many_guesses_are_refused():
    with pytest.raises(ValueError, match="guesses"):
        epsilon_lower_bound([1.0], np.array([True]), 1e-5, guesses=2)
