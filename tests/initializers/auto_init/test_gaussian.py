"""Moments of functions of a normal variable, against closed forms."""

import numpy as np
import pytest

from tfdeep.initializers.auto_init.gaussian import (
    moments,
    second_moments,
    softmax_second,
)


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


@pytest.mark.parametrize("variance", [1e-12, 0.3, 4.0, 200.0])
def test_a_softmax_of_one_and_of_two(variance):
    """Of two it is a sigmoid of their difference."""
    assert softmax_second(1, variance) == pytest.approx(1.0, rel=1e-9)
    _, second = moments(lambda x: 1 / (1 + np.exp(-x)), 0.0, 2 * variance)
    assert softmax_second(2, variance) == pytest.approx(second, rel=1e-8)


@pytest.mark.parametrize("deviation", [1.0, 6.0])
def test_a_softmax_of_many(deviation):
    """E[y_k^2] against 4e5 drawn ones of each k."""
    z = deviation * np.random.default_rng(0).standard_normal((400_000, 7))
    powers = np.exp(z - z.max(-1, keepdims=True))
    y = powers / powers.sum(-1, keepdims=True)
    found = softmax_second(7, deviation**2)
    assert found == pytest.approx(np.mean(y**2), rel=2e-3)


def test_a_softmax_of_large_and_of_no_variance():
    assert softmax_second(10, 0.0) == 0.01
    assert softmax_second(10, 1e300) == pytest.approx(0.1, rel=1e-9)
    below, above = (softmax_second(10, x**2) for x in (14.99, 15.01))
    assert below < above < below * 1.001
