"""How far one example moves the clipped sum, and the gradients of others."""

import numpy as np

from tfdeep.checks import check_number, check_positive
from tfdeep.privacy.audit.probing import (
    Probe,
    loudest,
    replaced,
    row_of,
    rows_of,
    sensitivity_of,
    spoiled,
)
from tfdeep.privacy.audit.report import AuditReport, Finding

LOUD = 1e3
# Sums in float32, of what was clipped with a rounded norm.
ROUNDING = 1e-3


def sensitivity(
    model, x, y, bound: float | None = None, rows: int = 8
) -> AuditReport:
    """Check that no example moves the clipped sum by more than it may.

    The sharpest of the audits: it compares sums without noise. In turn each
    of the first `rows` examples is removed, by a weight of 0; exchanged for
    another of the batch, and for one that is a thousand times as large;
    spoiled with NaN; and left alone in the batch. Masks of random layers stay
    as they are.

    Args:
        model: a `PrivateModel`, or what has its `clipped_sum`.
        x: inputs of a batch, arrays.
        y: targets of the batch.
        bound: the largest norm an example may add; by default the model's.
        rows: how many examples are tried.

    Returns:
        A report of `removal` (at most C), `swap` (at most 2 C), `alone` (at
        most C) and `not finite` (moves the sum as its removal does).

    Example:
        >>> import keras, numpy as np, tfdeep
        >>> net = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
        >>> model = tfdeep.privacy.PrivateModel(net)
        >>> model.compile("sgd", "mse")
        >>> x = np.random.default_rng(0).normal(size=(6, 3)).astype("float32")
        >>> report = tfdeep.privacy.audit.sensitivity(model, x, x[:, :2])
        >>> report.passed, [each.check for each in report]
        (True, ['removal', 'swap', 'alone', 'not finite'])
    """
    check_positive("rows", rows)
    bound = sensitivity_of(model) if bound is None else bound
    check_number("bound", bound, 0.0, 1.0)
    probe, size = Probe(model), rows_of(x)
    whole = probe.sums(x, y, np.ones(size, "float32"))
    moved: dict[str, list[float]] = {"removal": [], "swap": [], "alone": []}
    bad: list[float] = []
    for row in range(min(rows, size)):
        weights = np.ones(size, "float32")
        weights[row] = 0.0
        rest = probe.sums(x, y, weights)
        moved["removal"].append(_norm(whole - rest))
        moved["alone"].append(_norm(probe.sums(x, y, 1 - weights)))
        for example in _others(x, y, row):
            other = _with(probe, x, y, row, example)
            moved["swap"].append(_norm(whole - other))
            moved["removal"].append(_norm(other - rest))
        example = spoiled(row_of(x, row))
        if example is not None:
            found = _with(probe, x, y, row, (example, row_of(y, row)))
            bad.append(_norm(found - rest))
    limits = {"removal": bound, "swap": 2 * bound, "alone": bound}
    findings = [
        _finding(check, max(values), limits[check], bound)
        for check, values in moved.items()
    ]
    if bad:
        findings.append(_finding("not finite", max(bad), 0.0, bound))
    return AuditReport(tuple(findings), "sensitivity")


def _others(x, y, row: int):
    """What is put in the place of an example."""
    other = (row + 1) % rows_of(x)
    yield row_of(x, other), row_of(y, other)
    yield loudest(row_of(x, row), LOUD), row_of(y, row)


def _with(probe: Probe, x, y, row: int, example) -> np.ndarray:
    """The sum with one example in the place of another."""
    ones = np.ones(rows_of(x), "float32")
    new_x, new_y = example
    return probe.sums(replaced(x, row, new_x), replaced(y, row, new_y), ones)


def _norm(vector: np.ndarray) -> float:
    """The L2 norm; infinite if a number is not finite."""
    norm = float(np.linalg.norm(vector))
    return norm if np.isfinite(norm) else float("inf")


def _finding(check, value, limit, bound) -> Finding:
    return Finding(check, value <= limit + ROUNDING * bound, value, limit)


def isolation(
    model, x, y, rows: int = 8, tolerance: float = 1e-3
) -> AuditReport:
    """Check that an example has no influence on the gradients of others.

    Clipping bounds what an example adds, and nothing more: if a layer lets
    examples see one another, as batch normalization does, each of the others
    carries some of it past the clip.

    Args:
        model: a `PrivateModel`, or what has its `per_example_norms`.
        x: inputs of a batch, arrays.
        y: targets of the batch.
        rows: how many examples are tried.
        tolerance: the relative change of a norm that is taken for rounding.

    Returns:
        A report of `isolation`: the largest relative change of a norm.

    Example:
        >>> import keras, numpy as np, tfdeep
        >>> net = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
        >>> model = tfdeep.privacy.PrivateModel(net)
        >>> model.compile("sgd", "mse")
        >>> x = np.random.default_rng(0).normal(size=(6, 3)).astype("float32")
        >>> tfdeep.privacy.audit.isolation(model, x, x[:, :2]).passed
        True
    """
    check_positive("rows", rows)
    probe, size = Probe(model), rows_of(x)
    ones = np.ones(size, "float32")
    before = probe.norms(x, y, ones)
    scale = np.maximum(before, 1e-6 * max(float(before.max()), 1e-30))
    worst = 0.0
    for row in range(min(rows, size)):
        for new_x, new_y in _others(x, y, row):
            after = probe.norms(
                replaced(x, row, new_x), replaced(y, row, new_y), ones
            )
            change = np.delete(np.abs(after - before) / scale, row)
            worst = max(worst, float(change.max(initial=0.0)))
    finding = Finding("isolation", worst <= tolerance, worst, tolerance)
    return AuditReport((finding,), "isolation")
