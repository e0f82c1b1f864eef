"""Noise as claimed passes its audit; noise too small or repeated does not."""

import numpy as np
import pytest

from tests.privacy.audit import plants
from tests.privacy.audit.models import X, Y, net, private
from tfdeep.privacy import audit

# Noise as claimed fails each check with one part in a million.
SURE = {"confidence": 1 - 1e-6}


@pytest.mark.slow
def test_noise_beside_penalties_passes():
    report = audit.noise(private(net(regularizer="l2")), X, Y, **SURE)
    assert report.passed, report
    assert report["standard deviation"].allowed == pytest.approx(0.1 / 12)


@pytest.mark.slow
def test_halved_noise_is_found():
    model = private(mechanism=plants.HalvedNoise(1.0))
    report = audit.noise(model, X, Y, **SURE)
    assert report.failures == ["standard deviation"]
    deviation = report["standard deviation"]
    assert deviation.measured == pytest.approx(deviation.allowed / 2, rel=0.1)


@pytest.mark.slow
def test_replayed_noise_is_found():
    model = private(mechanism=plants.ReplayedNoise(1.0))
    failures = audit.noise(model, X, Y).failures
    assert {"correlation", "freshness"} <= set(failures)


@pytest.mark.slow
def test_a_fixed_seed_is_found():
    assert "freshness" in audit.noise(private(seed=3), X, Y).failures


@pytest.mark.tensorflow
@pytest.mark.slow
def test_noise_that_follows_keras_seed_is_found():
    model = private(mechanism=plants.SeededNoise(1.0))
    assert "freshness" in audit.noise(model, X, Y).failures


def test_no_noise_is_a_deviation_of_zero():
    report = audit.noise_of(np.zeros((2, 50)), 0.0)
    assert report.passed and report["standard deviation"].measured == 0.0


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
