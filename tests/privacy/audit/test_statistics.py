"""Binomial tails, intervals and epsilons, against sums and tables."""

import math

import numpy as np
import pytest

from tfdeep.privacy.audit import gaussian_epsilon, rate_interval
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
