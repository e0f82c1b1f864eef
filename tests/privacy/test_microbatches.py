"""The memory of a small batch, and the update of a large one."""

import keras
import numpy as np
import pytest
from keras import layers

from tests.helpers import arrays, close
from tests.privacy.in_order import InOrder
from tfdeep.privacy import GaussianMechanism

SILENT = GaussianMechanism(noise_multiplier=0.0)


def test_microbatches_sum_the_same(private, data):
    x, y = (each[:6] for each in data)
    weight = np.array([0, 2, 1, 1, 0.5, 3], "float32")
    whole, parts = (private(microbatch_size=each) for each in (None, 3))
    for ask in ("clipped_sum", "per_example_norms"):
        one, other = (
            arrays(keras.tree.flatten(getattr(model, ask)(x, y, weight)))
            for model in (whole, parts)
        )
        close(other, one)


@pytest.mark.slow
def test_microbatches_give_the_same_update(private, data):
    weight = np.linspace(0.5, 2, 32).astype("float32")
    """Also if they do not divide the batch, or are larger."""
    logs, weights = [], []
    for size in (None, 3, 100):
        model = private(
            mechanism=SILENT,
            microbatch_size=size,
            compiled={"metrics": ["accuracy"]},
        )
        history = model.fit(
            *data,
            batch_size=8,
            shuffle=False,
            verbose=0,
            sample_weight=weight,
        )
        logs.append(history.history)
        weights.append(model.base.get_weights())
    for parts, noted in zip(weights[1:], logs[1:], strict=True):
        close(parts, weights[0])
        assert noted.keys() == logs[0].keys()
        for name, values in noted.items():
            np.testing.assert_allclose(values, logs[0][name], 1e-5)


def accumulating(rate):
    return keras.optimizers.SGD(rate, gradient_accumulation_steps=4)


def test_accumulated_gradients_are_one_update(private, budget, data):
    plan = budget(noise_multiplier=0.0, batch_size=32)
    model = private(plan=plan, optimizer=accumulating(0.1))
    whole = private(plan=plan)
    for each, size in ((model, 8), (whole, 32)):
        each.fit(InOrder(data, size), verbose=0)
        assert each.count_of_updates() == 1
    close(model.base.get_weights(), whole.base.get_weights())


def test_accumulated_gradients_get_noise_once(private, budget):
    """Zero gradients: the weights move by the noise of one update."""
    model = private(
        layers.Dense(600),
        plan=budget(batch_size=32),
        optimizer=accumulating(1.0),
    )
    before = model.base.get_weights()
    x, y = np.zeros((8, 8), "float32"), np.zeros(8, "int32")
    for _ in range(4):
        model.train_on_batch(x, y, np.zeros(8, "float32"))
    after = model.base.get_weights()
    moved = [np.ravel(a - b) for a, b in zip(after, before, strict=True)]
    assert np.std(np.concatenate(moved)) == pytest.approx(1 / 32, rel=0.05)
