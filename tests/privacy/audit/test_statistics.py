"""The figures of the audits, against slow sums and published values."""

import math

import numpy as np
import pytest

from tfdeep.privacy.audit import (
    attack_area,
    attack_rates,
    epsilon_lower_bound,
    epsilon_of_guesses,
    gaussian_epsilon,
    membership,
    one_run,
    rate_interval,
)
from tfdeep.privacy.audit.one_run import chance
from tfdeep.privacy.audit.statistics import tail


def binomial(trials, p, k):
    return math.comb(trials, k) * p**k * (1 - p) ** (trials - k)


@pytest.mark.parametrize(("trials", "p"), [(1, 0.5), (10, 0.3), (40, 0.99)])
def test_tail_is_the_sum_of_its_terms(trials, p):
    for k in range(trials + 1):
        terms = sum(binomial(trials, p, i) for i in range(k, trials + 1))
        assert tail(trials, p, k) == pytest.approx(terms, rel=1e-9)


# Clopper and Pearson's own table has 10 trials at 95 %.
@pytest.mark.parametrize(
    ("hits", "low", "high"),
    [(0, 0.0, 0.3085), (5, 0.1871, 0.8129), (10, 0.6915, 1.0)],
)
def test_interval_of_a_rate(hits, low, high):
    assert rate_interval(hits, 10) == pytest.approx((low, high), abs=1e-4)


def test_interval_covers_the_rate():
    rng = np.random.default_rng(0)
    covered = [
        low <= 0.3 <= high
        for low, high in (
            rate_interval(hits, 50) for hits in rng.binomial(50, 0.3, size=200)
        )
    ]
    assert np.mean(covered) >= 0.95


@pytest.mark.parametrize("sigma", [0.3, 0.5, 1.0, 2.0, 10.0])
def test_gaussian_epsilon_has_its_delta(sigma):
    epsilon = gaussian_epsilon(sigma, 1e-5)

    def phi(x):
        return 0.5 * math.erfc(-x / math.sqrt(2))

    delta = phi(0.5 / sigma - epsilon * sigma) - math.exp(epsilon) * phi(
        -0.5 / sigma - epsilon * sigma
    )
    assert delta == pytest.approx(1e-5, rel=1e-6)


def test_gaussian_epsilon_without_noise():
    assert gaussian_epsilon(0.0, 1e-5) == math.inf
    assert gaussian_epsilon(1e6, 1e-3) == 0.0


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


def test_area_is_the_share_of_pairs():
    rng = np.random.default_rng(0)
    members, others = rng.integers(0, 9, 30), rng.integers(2, 11, 40)
    pairs = members[:, None] - others[None, :]
    share = np.mean(pairs < 0) + np.mean(pairs == 0) / 2
    area, (low, high) = attack_area(members, others)
    assert area == pytest.approx(share)
    assert low < area < high


def test_rates_are_of_examples_that_chose_no_threshold():
    rng = np.random.default_rng(0)
    # Nothing to be found: the difference of the rates is not biased upward.
    gaps = []
    for seed in range(100):
        losses = rng.exponential(size=(2, 40))
        rates = attack_rates(*losses, seed=seed)
        gaps.append(rates["members"] - rates["others"])
    assert abs(np.mean(gaps)) < 4 * np.std(gaps) / 10


def test_an_overfitted_model_is_found_out():
    rng = np.random.default_rng(0)
    members, others = rng.normal(0, 1, 500), rng.normal(4, 1, 500)
    report = membership(members, others, delta=1e-5, claim=1.0)
    assert report.failures == ["epsilon from losses"]
    assert report["attack area"].measured > 0.99
    low, high = report["attack advantage"].interval
    assert low < report["attack advantage"].measured < high


def test_equal_losses_give_no_bound():
    losses = np.ones(50)
    report = membership(losses, losses, claim=0.0)
    assert report["epsilon from losses"].measured == 0.0
    assert report["attack area"].measured == 0.5


@pytest.mark.parametrize("losses", [[1.0], [[1.0] * 9], [np.nan] * 9])
def test_bad_losses_are_refused(losses):
    with pytest.raises(ValueError, match="member_losses"):
        membership(losses, [1.0] * 9)
