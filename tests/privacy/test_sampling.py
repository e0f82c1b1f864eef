"""Poisson samples: their law, their shape, and in a fit."""

import keras
import numpy as np
import pytest
from keras import layers

from tfdeep.privacy import Plan, PrivateModel, poisson_batches
from tfdeep.privacy.sampling import (
    is_sample,
    padded,
    poisson_sample,
    uniform,
)

N, B = 400, 40
PLAN = Plan(N, B, 30, 1e-5, noise_multiplier=1.0)
X = np.arange(1, N + 1, dtype="float32")[:, None] * np.ones((1, 3), "float32")
Y = np.arange(1, N + 1, dtype="float32")


def test_every_example_is_drawn_alone_and_with_the_same_chance():
    draws, q = 4_000, 0.1
    taken = np.zeros((draws, 50))
    for row in taken:
        row[poisson_sample(50, q)] = 1
    standard_error = np.sqrt(q * (1 - q) / draws)
    assert np.abs(taken.mean(0) - q).max() < 4.5 * standard_error
    # Binomial sizes: the draws of two examples have nothing to do with it.
    sizes = taken.sum(1)
    assert sizes.var() == pytest.approx(50 * q * (1 - q), rel=0.12)
    together = np.corrcoef(taken.T)[np.triu_indices(50, 1)]
    assert np.abs(together).max() < 5 / np.sqrt(draws)


def test_numbers_are_uniform():
    numbers = uniform(20_000)
    assert 0 <= numbers.min() and numbers.max() < 1
    assert numbers.mean() == pytest.approx(0.5, abs=0.01)
    assert len(np.unique(numbers)) == len(numbers)


def test_rows_of_a_batch():
    batch = poisson_batches(X, Y, PLAN)
    assert len(batch) == PLAN.steps_per_epoch == 10
    for index in range(10):
        x, y, weight = batch[index]
        assert len(x) == len(y) == len(weight) == PLAN.padded_batch_size
        real = int(weight.sum())
        assert np.all(weight[:real] == 1) and not np.any(weight[real:])
        assert np.array_equal(x[:, 0], y)
        assert len(np.unique(y[:real])) == real
        assert not np.any(x[real:])


def test_a_sample_too_large_for_the_padding_is_not_cut_short(monkeypatch):
    monkeypatch.setattr(
        "tfdeep.privacy.sampling.uniform",
        lambda count, *rest: np.zeros(count),
    )
    x, y, weight = poisson_batches(X, Y, PLAN)[0]
    assert len(y) % PLAN.padded_batch_size == 0
    assert weight.sum() == N and set(y[weight > 0]) == set(Y)


def test_an_empty_sample_still_makes_a_batch(monkeypatch):
    monkeypatch.setattr(
        "tfdeep.privacy.sampling.uniform",
        lambda count, *rest: np.ones(count),
    )
    x, _, weight = poisson_batches(X, Y, PLAN)[0]
    assert len(x) == PLAN.padded_batch_size
    assert not np.any(x) and not np.any(weight)


def test_samples_do_not_depend_on_any_global_seed():
    draws = []
    for _ in range(2):
        keras.utils.set_random_seed(0)
        draws.append(poisson_batches(X, Y, PLAN)[0][1])
    assert not np.array_equal(*draws)


def test_a_seed_repeats_samples_and_is_named():
    first, second = (poisson_batches(X, Y, PLAN, seed=1) for _ in range(2))
    for index in range(3):
        assert np.array_equal(first[index][1], second[index][1])
    assert not np.array_equal(first[0][1], first[1][1])
    before = first[0][1]
    first.on_epoch_end()
    assert not np.array_equal(first[0][1], before)
    assert "UNFIT FOR RELEASE" in first.statement()
    assert "UNFIT" not in poisson_batches(X, Y, PLAN).statement()


def test_everything_is_drawn_where_the_batch_is_all_data():
    plan = Plan(N, N, 2, 1e-5, noise_multiplier=5.0)
    _, _, weight = poisson_batches(X, Y, plan)[0]
    assert len(weight) == N and np.all(weight == 1)


def test_several_inputs_and_targets():
    x = {"image": X, "other": [X[:, 0], X.astype("int32")]}
    inputs, (first, second), weight = poisson_batches(x, (Y, X), PLAN)[0]
    assert inputs["image"].shape == second.shape == (len(weight), 3)
    assert np.array_equal(inputs["other"][0], first)
    assert inputs["other"][1].dtype == "int32"


def test_tensors_are_data_too():
    batches = poisson_batches(
        keras.ops.convert_to_tensor(X), keras.ops.convert_to_tensor(Y), PLAN
    )
    x, y, _ = batches[0]
    assert np.array_equal(x[:, 0], y)


def test_weights_of_examples():
    _, y, weight = poisson_batches(X, Y, PLAN, sample_weight=Y)[0]
    assert np.array_equal(y, weight)


def test_padding_keeps_the_type():
    assert padded(np.ones((3, 2), "uint8"), np.array([1]), 4).dtype == "uint8"


@pytest.mark.parametrize(
    "x, y, options",
    [
        (X[:-1], Y, {}),
        (X, Y[:-1], {}),
        (X, None, {}),
        (iter([1]), Y, {}),
        (X, Y, {"seed": -1}),
        (X, Y, {"seed": "a"}),
        (X, Y, {"sample_weight": -Y}),
        (X, Y, {"sample_weight": Y * np.nan}),
        (X, Y, {"sample_weight": Y[:3]}),
        (X, Y, {"sample_weight": X}),
        (X, "labels", {}),
    ],
)
def test_what_is_no_data_of_the_plan_is_refused(x, y, options):
    with pytest.raises(ValueError) as error:
        poisson_batches(x, y, PLAN, **options)
    assert str(error.value).count(". ") >= 2


@pytest.mark.parametrize(
    "plan",
    [None, Plan(N, B, 30, 1e-5, noise_multiplier=1.0, sampling="shuffled")],
)
def test_other_plans_are_refused(plan):
    with pytest.raises(ValueError, match="poisson"):
        poisson_batches(X, Y, plan)


def test_a_plain_fit_takes_them():
    model = keras.Sequential([layers.Dense(1, kernel_initializer="zeros")])
    model.compile(
        keras.optimizers.SGD(0.1),
        "mse",
        weighted_metrics=["mae"],
        jit_compile=True,
    )
    batches = poisson_batches(X / N, Y / N, PLAN)
    history = model.fit(batches, epochs=3, verbose=0)
    assert len(history.history["loss"]) == 3
    assert history.history["loss"][-1] < history.history["loss"][0]


def test_a_private_fit_takes_them_and_ends_with_the_plan():
    noise = {"noise_multiplier": 1.0, "accountant": "rdp"}
    plan = Plan(N, B, 12, 1e-5, **noise)
    base = keras.Sequential([keras.Input((3,)), layers.Dense(1)])
    model = PrivateModel(base, plan)
    model.compile(keras.optimizers.SGD(0.1), "mse")
    batches = poisson_batches(X / N, Y / N, plan)
    model.fit(batches, epochs=plan.epochs + 1, verbose=0)
    assert model.count_of_updates() == 12
    assert model.epsilon() == plan.epsilon


def test_padding_adds_nothing_to_gradients_and_weighted_metrics():
    model = keras.Sequential([keras.Input((3,)), layers.Dense(1)])
    model.compile("sgd", "mse", weighted_metrics=["mse"])
    x, y, weight = poisson_batches(X / N, Y / N, PLAN, seed=0)[0]
    real = weight > 0
    kept = model.evaluate(x[real], y[real], verbose=0, return_dict=True)
    seen = model.evaluate(
        x, y, sample_weight=weight, batch_size=len(x), verbose=0,
        return_dict=True,
    )  # fmt: skip
    assert seen["mse"] == pytest.approx(kept["mse"], rel=1e-5)


def test_a_sample_is_known_by_its_padding():
    """Also the largest that would have none, and in other dtypes."""
    known = [
        (poisson_batches(X, Y, PLAN)[0][2], True),
        (np.ones(8), False),
        (np.array([1.0, 0.0]), False),
        (np.array([1.0, -0.0]), True),
        (np.zeros(8), True),
    ]
    for weights, expected in known:
        for dtype in ("float32", "bfloat16"):
            tensor = keras.ops.convert_to_tensor(weights, dtype)
            assert bool(is_sample(tensor)) is expected


def test_a_sample_as_large_as_the_padding_has_padding():
    plan = Plan(3, 2, 3, 1e-5, noise_multiplier=1.0)
    batches = poisson_batches(X[:3], Y[:3], plan)
    assert plan.padded_batch_size == 3
    for _ in range(60):  # All three are drawn with a chance of 0.3.
        *_, weights = batches[0]
        full = np.count_nonzero(weights) == 3
        assert weights.shape == ((6,) if full else (3,))
        assert bool(is_sample(keras.ops.convert_to_tensor(weights)))
