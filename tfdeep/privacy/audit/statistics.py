"""The few distributions that audits need, in NumPy."""

import math
from statistics import NormalDist

import numpy as np

from tfdeep.checks import check_number, check_positive


def check_confidence(confidence: float) -> None:
    """Raise `ValueError` unless it is a number between 0 and 1."""
    check_number("confidence", confidence, 0.0, 0.95)
    if not 0.0 < confidence < 1.0:
        raise ValueError(
            "`confidence` must lie between 0 and 1. Received: "
            f"confidence={confidence!r}. Pass for example 0.95."
        )


def log_binomial(trials: int, p: float) -> np.ndarray:
    """log P[Binomial(trials, p) = k] for k = 0, ..., trials."""
    k = np.arange(trials + 1)
    logs = np.concatenate([[0.0], np.log(np.arange(1, trials + 1))])
    factorial = np.cumsum(logs)
    choose = factorial[-1] - factorial - factorial[::-1]
    with np.errstate(divide="ignore", invalid="ignore"):
        hits = np.where(k == 0, 0.0, k * np.log(p))
        misses = np.where(k == trials, 0.0, (trials - k) * np.log1p(-p))
    return choose + hits + misses


def tail(trials: int, p: float, at_least: int) -> float:
    """P[Binomial(trials, p) >= at_least]."""
    return float(min(1.0, np.exp(log_binomial(trials, p)[at_least:]).sum()))


def bisect(holds, low: float, high: float, steps: int = 60) -> float:
    """The largest number up to which `holds`, which must hold at `low`."""
    for _ in range(steps):
        middle = (low + high) / 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low


def rate_interval(hits: int, trials: int, confidence: float = 0.95):
    """The exact interval of a rate, after Clopper and Pearson.

    Args:
        hits: how often it happened.
        trials: how often it could have.
        confidence: the probability that the rate lies within.

    Returns:
        `(low, high)`.

    Example:
        >>> low, high = rate_interval(8, 10)
        >>> round(low, 3), round(high, 3)
        (0.444, 0.975)
    """
    check_positive("trials", trials)
    check_confidence(confidence)
    half = (1 - confidence) / 2
    low, high = 0.0, 1.0
    if hits > 0:
        low = bisect(lambda p: tail(trials, p, hits) <= half, 0.0, 1.0)
    if hits < trials:
        misses = trials - hits
        high = 1 - bisect(lambda p: tail(trials, p, misses) <= half, 0.0, 1.0)
    return low, high


def quantile(confidence: float) -> float:
    """How many standard deviations to either side hold this probability."""
    check_confidence(confidence)
    return NormalDist().inv_cdf((1 + confidence) / 2)


def gaussian_epsilon(noise_multiplier: float, delta: float) -> float:
    """The epsilon of one noisy sum, without sampling.

    The least epsilon with
    Phi(1/(2s) - eps s) - exp(eps) Phi(-1/(2s) - eps s) <= delta.

    Reference:
        Balle, Wang, "Improving the Gaussian Mechanism for Differential
        Privacy", 2018, theorem 8, for a sensitivity of 1. No deviation.

    Args:
        noise_multiplier: standard deviation in units of the sensitivity.
        delta: the delta of the guarantee.

    Example:
        >>> round(gaussian_epsilon(1.0, 1e-5), 2)
        4.38
    """
    check_number("noise_multiplier", noise_multiplier, 0.0, 1.1)
    check_number("delta", delta, 0.0, 1e-5)
    s = float(noise_multiplier)
    if s == 0.0 or delta == 0.0:
        return math.inf

    def exceeds(epsilon):
        first = _log_phi(0.5 / s - epsilon * s)
        second = epsilon + _log_phi(-0.5 / s - epsilon * s)
        return math.exp(first) - math.exp(min(second, 700.0)) > delta

    high = 1.0
    while exceeds(high):
        high *= 2
    return bisect(exceeds, 0.0, high) if exceeds(0.0) else 0.0


def _log_phi(x: float) -> float:
    """log of the normal distribution function, far out too."""
    if x > -30.0:
        return math.log(0.5 * math.erfc(-x / math.sqrt(2)))
    return -x * x / 2 - math.log(-x * math.sqrt(2 * math.pi))
