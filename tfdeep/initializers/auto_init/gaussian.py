"""Moments of a function of a normal variable, by quadrature.

    E[f(m + s z)] and E[f(m + s z)^2],  z standard normal

Piecewise Gauss-Legendre on panels that follow the variable's own scale and
are split where common activations have kinks, so that narrow, wide and
shifted inputs are integrated alike.
"""

import numpy as np

REACH = 9.0  # Beyond this many deviations lies less than 1e-18 of the mass.
PANELS = 36
TIES = 15.0  # From here on the softmax is 0 or 1, but for ties.
KINKS = np.array([-3.0, -2.5, -1.0, 0.0, 1.0, 2.5, 3.0, 6.0])
NODES, WEIGHTS = np.polynomial.legendre.leggauss(12)


def moments(function, mean: float, variance: float) -> tuple[float, float]:
    """`(E[f], E[f^2])` of a normal variable.

    Args:
        function: maps an array of values to an array of the same shape.
        mean: float.
        variance: float, not negative.
    """
    deviation = np.sqrt(variance)
    if deviation == 0:
        value = float(np.asarray(function(np.full(1, mean)))[0])
        return value, value * value
    edges = np.linspace(-REACH, REACH, PANELS + 1)
    kinks = (KINKS - mean) / deviation
    kinks = kinks[np.abs(kinks) < REACH]
    z, weights = _panels(np.unique(np.concatenate([edges, kinks])))
    values = np.asarray(function(mean + deviation * z), "float64")
    return float(weights @ values), float(weights @ values**2)


def _panels(edges) -> tuple[np.ndarray, np.ndarray]:
    """Nodes between the edges, and their weights by the normal law."""
    half = np.diff(edges)[:, None] / 2
    z = (edges[:-1, None] + half + half * NODES).ravel()
    weights = (half * WEIGHTS).ravel()
    return z, weights * np.exp(-z * z / 2) / np.sqrt(2 * np.pi)


def second_moments(function, variances: np.ndarray, points: int = 17):
    """`(E[f], E[f^2])` for centred normals of many variances, as arrays.

    Where there are more than `points` different variances the moments are
    interpolated between that many.
    """
    return interpolated(lambda v: moments(function, 0.0, v), variances, points)


def interpolated(function, variances: np.ndarray, points: int = 17) -> list:
    """What a function of one variance returns for many, as arrays.

    Args:
        function: maps a float to a tuple of floats.
        variances: array.
        points: integer, how often it is called at most.
    """
    flat = np.asarray(variances, "float64").ravel()
    known = np.unique(flat)
    if len(known) > points:
        positive = known[known > 0]
        known = np.geomspace(positive[0], positive[-1], points)
        known = np.concatenate([[0.0], known]) if flat.min() == 0 else known
    table = np.array([function(v) for v in known])
    return [
        np.interp(flat, known, column).reshape(variances.shape)
        for column in table.T
    ]


def softmax_second(count: int, variance: float) -> float:
    """E[y_1^2] of the softmax y of independent centred normal variables.

    With phi(t) = E[exp(-t e^x)], from 1 / S^2 = integral of t e^(-t S) by t,

        E[y_1^2] = integral of t phi''(t) phi(t)^(count - 1) by t

    which is summed over ln t in equal steps. Far above one y is 0 or 1 but
    for ties, which are as rare as the deviation is large.

    Args:
        count: positive integer, how many variables there are.
        variance: float, not negative, that of each.

    Example:
        >>> from tfdeep.initializers.auto_init.gaussian import softmax_second
        >>> softmax_second(10, 0.0), round(softmax_second(10, 1.0), 5)
        (0.01, 0.01947)
    """
    deviation = min(np.sqrt(variance), TIES)
    if deviation == 0:
        return 1.0 / count**2
    z, weights = _panels(np.linspace(-REACH, REACH, PANELS + 1))
    reach, step = REACH * deviation, 1 / 8
    logs = np.arange(-reach - np.log(count) - 25.0, reach + 5.0, step)
    power = np.minimum(logs[:, None] + deviation * z, 30.0)  # ln(t e^x)
    decay = np.exp(-np.exp(power))
    phi = decay @ weights
    curved = (np.exp(2 * power) * decay) @ weights  # t^2 phi''
    second = float(step * np.sum(curved * phi ** (count - 1)))
    ties = (1 / count - second) * deviation
    return 1 / count - ties / max(np.sqrt(variance), deviation)
