"""Numbers of twice the digits against exact fractions and float64."""

from fractions import Fraction

import numpy as np
import pytest
from keras import ops

from tests.helpers import BACKEND, compiled, images
from tfdeep.layers.precise import Double, Pairs, Same, numbers

# Graphs of TensorFlow rearrange sums: no place for `Pairs`.
FORMS = [(Pairs, "eager"), (Pairs, "xla")]
if BACKEND == "tensorflow":
    FORMS += [(Double, mode) for mode in ("eager", "graph", "xla")]


def exact(kept, index):
    """An entry of what is kept, as a fraction."""
    values = np.array(kept)
    if values.ndim == 1:  # Of `Double`.
        return Fraction(float(values[index]))
    return Fraction(float(values[0, index])) + Fraction(float(values[1, index]))


def run(function, mode, *values):
    return compiled(function, mode)(*values)[0]


@pytest.mark.parametrize(("kind", "mode"), FORMS)
def test_sums_and_products(kind, mode):
    kept = kind()
    a, b = images(50) * 1e3, images(50, seed=1)

    def combined(a, b):
        total = kept.add(kept.widen(a), kept.scale(kept.widen(b), 0.9))
        return kept.subtract(total, kept.scale(total, 1 / 3))

    found = run(combined, mode, a, b)
    for index in range(50):
        parts = Fraction(float(a[index])), Fraction(float(b[index]))
        whole = (parts[0] + parts[1] * Fraction(0.9)) * (1 - Fraction(1 / 3))
        size = abs(parts[0]) + abs(parts[1])
        error = abs(exact(found, index) - whole) / size
        assert error < 4 * kept.rounding


@pytest.mark.parametrize(("kind", "mode"), FORMS)
def test_what_is_scaled_and_scaled_back(kind, mode):
    kept, x = kind(), images(1000)

    def there_and_back(x):
        w = kept.widen(x)
        for _ in range(20):
            w = kept.scale(w, 0.7)
        for _ in range(20):
            w = kept.scale(w, 1 / 0.7)
        return kept.narrow(w)

    np.testing.assert_array_equal(run(there_and_back, mode, x), x)


@pytest.mark.parametrize(("kind", "mode"), FORMS)
def test_what_is_added_is_taken_away(kind, mode):
    kept = kind()
    x, parts = images(1000), [1e3 * images(1000, seed=1 + i) for i in range(20)]

    def there_and_back(x, *parts):
        w = kept.widen(x)
        for part in parts:
            w = kept.add(w, kept.widen(0.1 * part))
        for part in reversed(parts):
            w = kept.subtract(w, kept.widen(0.1 * part))
        return kept.narrow(w)

    found = run(there_and_back, mode, x, *parts)
    # The sums are up to 1e3 times x: its last digit may be lost, no more.
    np.testing.assert_allclose(found, x, 2.0**-23, 1e-8)


@pytest.mark.parametrize("kind", sorted({kind for kind, _ in FORMS}, key=str))
@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_what_is_not_finite_stays_so(kind, value):
    kept = kind()
    w = kept.widen(ops.convert_to_tensor(np.array([value, 1.0], "float32")))
    w = kept.add(kept.scale(w, 0.9), w)
    found = np.array(kept.narrow(w))
    assert not np.isfinite(found[0])
    np.testing.assert_allclose(found[1], 1.9, 1e-6)


def test_how_numbers_are_kept():
    assert type(numbers("float64", wide=True)) is Same
    assert type(numbers("float32", wide=False)) is Same
    wide = {"tensorflow": Double, "jax": Pairs}[BACKEND]
    assert type(numbers("float32", wide=True)) is wide
