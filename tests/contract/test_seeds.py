"""A seed fixes a run, and a checkpoint continues it."""

import keras
import numpy as np
import pytest

from tests.contract.cases import CASES, SEED, names
from tests.contract.harness import (
    assert_all_close,
    images,
    model_of,
    train,
    values,
)


def training_outputs(model, x, count: int = 8) -> list:
    """Outputs of calls in training, one after the other."""
    return [np.array(model(x, training=True)) for _ in range(count)]


@pytest.mark.parametrize("name", CASES)
def test_equal_seeds_give_equal_runs(name):
    one, other, x = model_of(name), model_of(name), images(name)
    assert_all_close(one.get_weights(), other.get_weights(), 0.0)
    outputs = training_outputs(one, x)
    assert_all_close(outputs, training_outputs(other, x), 1e-6)
    if CASES[name].random:
        assert any(np.any(y != outputs[0]) for y in outputs)


@pytest.mark.parametrize("name", names(random=True))
def test_another_seed_gives_another_run(name):
    one, other, x = model_of(name), model_of(name, seed=SEED + 1), images(name)
    other.set_weights(one.get_weights())
    pairs = zip(
        training_outputs(one, x), training_outputs(other, x), strict=True
    )
    assert any(np.any(y != z) for y, z in pairs)


@pytest.mark.parametrize("name", CASES)
def test_checkpoint_continues_the_run(name, tmp_path):
    model, x = model_of(name), images(name, 6)
    train(model, x)
    model.save(tmp_path / "half.keras")
    train(model, x, compiled=False)
    resumed = keras.models.load_model(tmp_path / "half.keras")
    train(resumed, x, compiled=False)
    assert_all_close(values(resumed), values(model), 1e-5)
    assert_all_close(
        [np.array(v) for v in resumed.optimizer.variables],
        [np.array(v) for v in model.optimizer.variables],
        1e-5,
    )
