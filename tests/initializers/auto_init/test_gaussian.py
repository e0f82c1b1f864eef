"""Moments of functions of a normal variable, against closed forms."""

import numpy as np
import pytest

from tfdeep.initializers.auto_init.gaussian import moments, second_moments


@pytest.mark.parametrize("mean,variance", [(0.0, 1.0), (0.5, 0.04), (-1, 2.0)])
def test_moments_of_an_exponential(mean, variance):
    """E[e^x] = exp(m + v / 2), E[e^2x] = exp(2 m + 2 v)"""
    found = moments(np.exp, mean, variance)
    expected = np.exp(mean + variance / 2), np.exp(2 * mean + 2 * variance)
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_moments_across_kinks():
    """A function that bends or jumps is integrated piece by piece."""
    relu = moments(lambda x: np.maximum(x, 0), 0.0, 1e-6)
    np.testing.assert_allclose(relu, [1e-3 / np.sqrt(2 * np.pi), 5e-7], 1e-10)
    step = moments(lambda x: np.where(x > 1.0, 1.0, 0.0), 1.0, 4.0)
    np.testing.assert_allclose(step, [0.5, 0.5], rtol=1e-10)
    assert moments(np.square, 3.0, 0.0) == (9.0, 81.0)


def test_many_variances_are_interpolated():
    """As many as there are positions; a variance of 0 is among them."""
    variances = np.linspace(0.0, 2.0, 60).reshape(1, 6, 10)
    first, second = second_moments(lambda x: np.maximum(x, 0), variances)
    assert first.shape == second.shape == variances.shape
    np.testing.assert_allclose(second, variances / 2, rtol=1e-10, atol=1e-12)
