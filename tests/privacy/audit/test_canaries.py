"""Canaries bound epsilon below the claim, and above it where bugs are.

The coins, the simulations and the noise are of fixed seeds, so that the
bounds do not change from run to run.
"""

import numpy as np
import pytest

from tests.privacy.audit import plants
from tests.privacy.audit.models import private
from tfdeep.privacy import GaussianMechanism, audit

pytestmark = pytest.mark.slow


def audited(**kwargs):
    return audit.mechanism(private(seed=1, **kwargs), references=20, seed=0)


def test_correct_training_passes():
    report = audited()
    assert report.passed, report
    assert 0.5 < report["epsilon"].measured < 2.5


def test_no_clipping_is_found():
    report = audited(clip=plants.NoClipping(0.1))
    assert report.failures == ["epsilon", "epsilon of references"]


def test_halved_noise_is_found():
    report = audited(mechanism=plants.HalvedNoise(1.0))
    assert report.failures == ["epsilon of references"]


def test_without_noise_the_claim_is_infinite():
    model = private(mechanism=GaussianMechanism(0.0))
    report = audit.mechanism(model, canaries=200, references=2, seed=0)
    assert report["epsilon"].allowed == np.inf
