"""Correct training passes; each planted bug is found."""

import keras
import numpy as np
import pytest

from tests.helpers import images
from tests.privacy.audit import plants
from tfdeep.privacy import GaussianMechanism, PrivateModel, audit

X, Y = images(12, 5), images(12, 1, seed=1)


def net(dropout=0.0, regularizer=None):
    return keras.Sequential(
        [
            keras.Input((5,)),
            keras.layers.Dense(
                40, activation="tanh", kernel_regularizer=regularizer
            ),
            keras.layers.Dropout(dropout),
            keras.layers.Dense(1),
        ]
    )


def private(base=None, clip=0.1, mechanism=None, **kwargs):
    model = PrivateModel(
        base or net(),
        l2_norm_clip=clip,
        mechanism=mechanism or GaussianMechanism(1.0),
        **kwargs,
    )
    model.compile("sgd", "mse")
    return model


@pytest.mark.parametrize("bound", [None, 0.1])
@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_correct_training_passes_sensitivity(dropout, bound):
    report = audit.sensitivity(private(net(dropout)), X, Y, bound)
    assert report.passed, report
    # All examples are clipped, and so the bound is met.
    assert report["alone"].measured == pytest.approx(0.1, rel=1e-3)


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_correct_training_passes_isolation(dropout):
    report = audit.isolation(private(net(dropout)), X, Y)
    assert report.passed, report


@pytest.mark.parametrize("regularizer", [None, "l2"])
def test_correct_training_passes_noise(regularizer):
    report = audit.noise(private(net(regularizer=regularizer)), X, Y)
    assert report.passed, report
    assert report["standard deviation"].allowed == pytest.approx(0.1 / 12)


def test_correct_training_passes_canaries():
    report = audit.mechanism(private(), seed=0)
    assert report.passed, report
    assert 0.5 < report["epsilon"].measured < 2.5


def test_correct_training_passes_everything_and_is_left_alone():
    model = private()
    before = [np.array(w) for w in model.get_weights()]
    report = audit.everything(model, X, Y, seed=0)
    assert report.passed and len(report) == 10
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize("cls", [plants.Linear, plants.OneMask])
def test_correct_gradients_in_numpy_pass(cls):
    assert audit.sensitivity(cls(), X, Y, 1.0).passed
    assert audit.isolation(cls(), X, Y).passed


def test_no_clipping_is_found():
    model = private(clip=plants.NoClipping(0.1))
    failures = audit.sensitivity(model, X, Y).failures
    assert failures == ["removal", "swap", "alone"]
    assert audit.mechanism(model, seed=0).failures == [
        "epsilon",
        "epsilon of references",
    ]


def test_a_clipped_mean_is_found():
    report = audit.sensitivity(plants.ClippedMean(), X, Y, 1.0)
    assert {"removal", "swap"} <= set(report.failures)


def test_another_mask_for_the_norm_is_found():
    report = audit.sensitivity(plants.TwoMasks(), X, Y, 1.0)
    assert {"removal", "alone"} <= set(report.failures)


def test_examples_that_see_one_another_are_found():
    assert audit.isolation(plants.Centred(), X, Y).failures == ["isolation"]


def test_batch_normalization_is_found():
    class Mixed(plants.Centred):
        clip = 1e-3

    assert not audit.sensitivity(Mixed(), X, Y, 1e-3).passed


def test_an_example_that_is_not_finite_is_found():
    report = audit.sensitivity(plants.Poisoned(), X, Y, 1.0)
    assert report.failures == ["not finite"]
    assert report["not finite"].measured == np.inf


def test_halved_noise_is_found():
    model = private(mechanism=plants.HalvedNoise(1.0))
    report = audit.noise(model, X, Y)
    assert report.failures == ["standard deviation"]
    deviation = report["standard deviation"]
    assert deviation.measured == pytest.approx(deviation.allowed / 2, rel=0.1)
    report = audit.mechanism(model, seed=0)
    assert report.failures == ["epsilon of references"]


def test_replayed_noise_is_found():
    model = private(mechanism=plants.ReplayedNoise(1.0))
    failures = audit.noise(model, X, Y).failures
    assert {"correlation", "freshness"} <= set(failures)


def test_a_fixed_seed_is_found():
    assert "freshness" in audit.noise(private(seed=3), X, Y).failures


@pytest.mark.tensorflow
def test_noise_that_follows_keras_seed_is_found():
    model = private(mechanism=plants.SeededNoise(1.0))
    assert "freshness" in audit.noise(model, X, Y).failures


def test_without_noise_the_claim_is_infinite():
    model = private(mechanism=GaussianMechanism(0.0))
    report = audit.mechanism(model, canaries=200, references=2, seed=0)
    assert report["epsilon"].allowed == np.inf
    assert audit.noise(model, X, Y)["standard deviation"].measured == 0.0


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
    report = audit.sensitivity(private(base), x, images(6, 1))
    assert [each.check for each in report] == ["removal", "swap", "alone"]
    assert report.passed


def test_deviation_without_claims_is_judged_by_its_interval():
    rng = np.random.default_rng(0)
    draws = rng.normal(size=(5, 2000))
    assert audit.noise_of(draws, 1.0).passed
    assert audit.noise_of(draws, 1.1).failures == ["standard deviation"]
    assert audit.noise_of(np.stack([draws[0]] * 2), 1.0).failures == [
        "correlation"
    ]
    with pytest.raises(ValueError, match="two draws"):
        audit.noise_of(draws[:1], 1.0)
