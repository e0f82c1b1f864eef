"""Rows of weight 0 and examples that are not finite add exactly nothing."""

import numpy as np
import pytest

from tests.helpers import arrays, close
from tfdeep.privacy import GaussianMechanism


def test_padding_adds_exactly_nothing(private):
    model = private()
    x, y = np.ones((8, 8), "float32"), np.zeros(8, "int32")
    x[:3] = np.random.default_rng(0).normal(size=(3, 8))
    weight = np.array([1, 1, 1, 0, 0, 0, 0, 0], "float32")
    close(
        arrays(model.clipped_sum(x, y, weight)),
        arrays(model.clipped_sum(x[:3], y[:3])),
        1e-6,
        1e-7,
    )
    nothing = arrays(model.clipped_sum(x, y, 0 * weight))
    assert all(np.all(each == 0) for each in nothing)


def test_an_empty_batch_takes_a_noisy_step(private, budget):
    model = private(plan=budget(batch_size=8))
    before = model.base.get_weights()
    x, y = np.zeros((8, 8), "float32"), np.zeros(8, "int32")
    model.train_on_batch(x, y, np.zeros(8, "float32"))
    after = model.base.get_weights()
    assert all(np.all(a != b) for a, b in zip(before, after, strict=True))
    assert model.count_of_updates() == 1


@pytest.mark.parametrize(
    "method, bad", [("auto", np.inf), ("vectorized", np.nan)]
)
def test_an_example_that_is_not_finite_adds_nothing(private, data, bad, method):
    silent = GaussianMechanism(noise_multiplier=0.0)
    model = private(method=method, mechanism=silent)
    x, y = (each[:8].copy() for each in data)
    x[3] = bad
    rest = np.arange(8) != 3
    close(
        arrays(model.clipped_sum(x, y)),
        arrays(model.clipped_sum(x[rest], y[rest])),
        1e-6,
        1e-7,
    )
    model.train_on_batch(x, y)
    assert int(model.non_finite_examples.numpy()) == 1
    assert all(np.isfinite(w).all() for w in model.base.get_weights())
