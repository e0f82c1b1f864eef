"""Moments of a function of a normal variable, by quadrature.

    E[f(m + s z)] and E[f(m + s z)^2],  z standard normal

Piecewise Gauss-Legendre on panels that follow the variable's own scale and
are split where common activations have kinks, so that narrow, wide and
shifted inputs are integrated alike.
"""

import numpy as np

REACH = 9.0  # Beyond this many deviations lies less than 1e-18 of the mass.
PANELS = 36
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
    edges = np.unique(np.concatenate([edges, kinks]))
    half = np.diff(edges)[:, None] / 2
    z = (edges[:-1, None] + half + half * NODES).ravel()
    weights = (half * WEIGHTS).ravel()
    weights = weights * np.exp(-z * z / 2) / np.sqrt(2 * np.pi)
    values = np.asarray(function(mean + deviation * z), "float64")
    return float(weights @ values), float(weights @ values**2)


def second_moments(function, variances: np.ndarray, points: int = 17):
    """`(E[f], E[f^2])` for centred normals of many variances, as arrays.

    Where there are more than `points` different variances the moments are
    interpolated between that many.
    """
    flat = np.asarray(variances, "float64").ravel()
    known = np.unique(flat)
    if len(known) > points:
        positive = known[known > 0]
        known = np.geomspace(positive[0], positive[-1], points)
        known = np.concatenate([[0.0], known]) if flat.min() == 0 else known
    table = np.array([moments(function, 0.0, v) for v in known])
    first, second = (np.interp(flat, known, column) for column in table.T)
    return first.reshape(variances.shape), second.reshape(variances.shape)
