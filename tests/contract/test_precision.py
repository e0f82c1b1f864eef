"""Half precision computes in half precision and trains."""

import keras
import numpy as np
import pytest

from tests.contract.cases import CASES, layer_names
from tests.contract.harness import (
    FEW_STEPS,
    build,
    images,
    infer,
    model_of,
    train,
)

HALVES = ["mixed_float16", "mixed_bfloat16"]


@pytest.mark.parametrize("policy", ["float32", *HALVES])
@pytest.mark.parametrize("name", layer_names())
def test_policy_of_a_layer(name, policy):
    layer, x = build(name, dtype=policy), images(name)
    for training in (False, True):
        y = layer(x, training=training)
        assert keras.backend.standardize_dtype(y.dtype) == layer.compute_dtype
        assert np.isfinite(np.array(keras.ops.cast(y, "float32"))).all()
    assert layer.compute_dtype == policy.removeprefix("mixed_")
    assert {w.dtype for w in layer.weights} <= {"float32"}


@pytest.mark.parametrize("policy", HALVES)
@pytest.mark.parametrize("name", CASES)
def test_training_under_a_global_policy(name, policy):
    keras.config.set_dtype_policy(policy)
    model, x = model_of(name), images(name)
    (loss,) = train(model, x, **FEW_STEPS)
    assert np.isfinite(loss)
    assert {w.dtype for w in model.weights} == {"float32"}
    assert all(np.isfinite(w).all() for w in model.get_weights())


@pytest.mark.parametrize("policy", HALVES)
@pytest.mark.parametrize("name", CASES)
def test_half_precision_is_close_to_single(name, policy):
    x, single = images(name), model_of(name)
    keras.config.set_dtype_policy(policy)
    half = model_of(name)
    half.set_weights(single.get_weights())
    expected, actual = infer(single, x), infer(half, x)
    scale = np.abs(expected).max()
    assert np.abs(actual - expected).max() < 0.05 * scale
