"""Means, spreads and differences over seeds."""

import math

import pytest

from tfdeep.recipes import Results, Spread


def test_spread():
    spread = Spread((1.0, 2.0, 3.0))
    assert spread.mean == 2.0 and spread.std == 1.0
    assert str(spread) == "2 ± 1"


@pytest.mark.parametrize(
    "values, clear",
    [
        ((1.0, 1.1, 0.9), True),
        ((1.0, -0.5, 0.4), False),
        ((-1.0, -1.1, -0.9), False),
        ((1.0,), False),  # One seed says nothing about the noise.
        ((1.0, math.nan), False),
    ],
)
def test_clear_means_two_standard_errors(values, clear):
    assert Spread(values).clear is clear


def test_one_value_has_no_deviation():
    assert math.isnan(Spread((0.5,)).std) and str(Spread((0.5,))) == "0.5"


def test_difference_is_paired_by_seed():
    results = Results()
    for seed, value in enumerate((1.0, 5.0, 9.0)):
        results.record("a", seed, time=value + 1.0)
    for seed, value in ((2, 9.0), (1, 5.0)):  # Another order, one missing.
        results.record("b", seed, time=value)
    assert results.difference("a", "b", "time").values == (1.0, 1.0)


def test_missing_values_are_named():
    results = Results()
    results.record("plain", 0, error=0.5)
    with pytest.raises(KeyError, match="'plain'.*'error'"):
        results.spread("plain", "accuracy")
    with pytest.raises(KeyError, match="share no seed"):
        results.difference("plain", "other", "error")


def test_records_of_one_seed_are_joined():
    results = Results()
    results.record("plain", 0, error=0.5)
    results.record("plain", 0, time=2)
    results.entry("plain", 0).extend({"loss": [2.0]})
    results.entry("plain", 0).extend({"loss": [1.0]})
    assert results.to_dict() == {
        "plain": {
            "0": {
                "metrics": {"error": 0.5, "time": 2.0},
                "history": {"loss": [2, 1]},
            }
        }
    }


@pytest.mark.parametrize(
    "values, text",
    [
        ((470218.0, 470218.0), "470218"),
        ((0.1, 0.1, 0.1), "0.1"),  # Their deviation is 1.7e-17.
        ((1234.0, 1500.0), "1367 ± 188"),
        ((0.25, 0.75), "0.5 ± 0.35"),
        ((math.nan, 1.0), "nan"),
    ],
)
def test_numbers_are_written_whole_and_without_a_spread_of_zero(values, text):
    assert str(Spread(values)) == text
