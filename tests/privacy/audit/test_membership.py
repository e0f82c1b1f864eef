"""Attacks by losses: their rates, their area, and what they prove."""

import numpy as np
import pytest

from tfdeep.privacy.audit import attack_area, attack_rates, membership


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
