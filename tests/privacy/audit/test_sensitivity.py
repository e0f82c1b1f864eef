"""Correct clipping and isolation pass their audits; planted bugs are found."""

import keras
import numpy as np
import pytest

from tests.helpers import images
from tests.privacy.audit import plants
from tests.privacy.audit.models import X, Y, net, private
from tfdeep.privacy import audit


def test_correct_training_passes():
    """Also with masks that each call draws: they are put back."""
    model = private(net(dropout=0.5))
    report = audit.sensitivity(model, X, Y, rows=2)
    assert report.passed, report
    # All examples are clipped, and so the bound is met.
    assert report["alone"].measured == pytest.approx(0.1, rel=1e-3)
    assert report["swap"].allowed == pytest.approx(0.2)
    report = audit.isolation(model, X, Y, rows=2)
    assert report.passed, report


@pytest.mark.parametrize("cls", [plants.Linear, plants.OneMask])
def test_correct_gradients_in_numpy_pass(cls):
    assert audit.sensitivity(cls(), X, Y, 1.0).passed
    assert audit.isolation(cls(), X, Y).passed


def test_no_clipping_is_found():
    model = private(clip=plants.NoClipping(0.1))
    failures = audit.sensitivity(model, X, Y, rows=1).failures
    assert failures == ["removal", "swap", "alone"]


def test_a_bound_that_is_too_low_is_found():
    report = audit.sensitivity(plants.Linear(), X, Y, 0.9)
    assert {"removal", "alone"} <= set(report.failures)


@pytest.mark.parametrize(
    "plant, failures",
    [
        (plants.ClippedMean, {"removal", "swap"}),
        (plants.TwoMasks, {"removal", "alone"}),
        (plants.Poisoned, {"not finite"}),
    ],
)
def test_clipping_gone_wrong_is_found(plant, failures):
    report = audit.sensitivity(plant(), X, Y, 1.0)
    assert failures <= set(report.failures)
    if plant is plants.Poisoned:
        assert report.failures == ["not finite"]
        assert report["not finite"].measured == np.inf


def test_examples_that_see_one_another_are_found():
    assert audit.isolation(plants.Centred(), X, Y).failures == ["isolation"]


def test_batch_normalization_is_found():
    """A clip does not hide that each of the others carries some of it."""

    class Mixed(plants.Centred):
        clip = 1e-3

    assert not audit.sensitivity(Mixed(), X, Y, 1e-3).passed


def test_integers_cannot_be_spoiled():
    base = keras.Sequential(
        [
            keras.Input((3,), dtype="int32"),
            keras.layers.Embedding(7, 4),
            keras.layers.GlobalAveragePooling1D(),
            keras.layers.Dense(1),
        ]
    )
    x = np.random.default_rng(0).integers(0, 7, (6, 3))
    report = audit.sensitivity(private(base), x, images(6, 1), rows=1)
    assert [each.check for each in report] == ["removal", "swap", "alone"]
    assert report.passed
