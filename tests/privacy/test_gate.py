"""Data that the plan is not about are refused before a step is taken."""

import keras
import numpy as np
import pytest

from tfdeep.privacy import NotPrivateError, Plan, poisson_batches
from tfdeep.privacy.gate import check_shared

POISSON = {"accountant": "rdp", "noise_multiplier": 1.0}


@pytest.mark.parametrize("size, rows", [(8, 9), (9, 8), (None, 10)])
def test_batches_that_devices_can_share(size, rows):
    """Of the rows of the first batch: the last may be smaller."""
    x = np.zeros((rows, 2))
    check_shared({"x": x, "batch_size": size}, 2)
    check_shared({"x": iter([x]), "batch_size": 9}, 2)


def test_batches_that_devices_cannot_share():
    with pytest.raises(ValueError, match="Received: batches of 9 rows. Pass"):
        check_shared({"x": np.zeros((16, 2)), "batch_size": 9}, 2)


@pytest.mark.parametrize(
    "plan, text, arguments",
    [
        ({"sampling": "poisson"}, "must be Poisson samples", {}),
        ({"num_examples": 33}, "32 training examples", {}),
        ({}, "24 training", {"validation_split": 0.25}),
        ({}, "batches of 16", {"batch_size": 16}),
        ({}, "batches of 32", {"batch_size": None}),
    ],
    ids=str,
)
def test_arrays_of_another_kind(plan, text, arguments, private, budget, data):
    arguments = {"batch_size": 8, **arguments}
    with pytest.raises(NotPrivateError, match=text):
        private(plan=budget(**plan)).fit(*data, verbose=0, **arguments)


def test_batches_of_another_size(private, budget, data):
    model = private(plan=budget())
    with pytest.raises(NotPrivateError, match="12 rows"):
        model.train_on_batch(*(each[:12] for each in data))
    model = private(plan=budget(sampling="poisson"))
    with pytest.raises(NotPrivateError, match="without weights"):
        model.train_on_batch(*data)


def test_samples_of_another_plan(private, budget, data):
    plans = [Plan(32, 8, steps, 1e-5, **POISSON) for steps in (10, 20)]
    batches = poisson_batches(*data, plans[0])
    with pytest.raises(NotPrivateError, match="must be of the plan"):
        private(plan=plans[1]).fit(batches, verbose=0)
    with pytest.raises(NotPrivateError, match="shuffled"):
        private(plan=budget()).fit(batches, verbose=0)


def test_samples_are_whole_updates(private, data):
    plan = Plan(32, 8, 10, 1e-5, **POISSON)
    optimizer = keras.optimizers.SGD(0.1, gradient_accumulation_steps=2)
    model = private(plan=plan, optimizer=optimizer)
    with pytest.raises(NotPrivateError, match="whole update"):
        model.fit(poisson_batches(*data, plan), verbose=0)
