"""DropPath: one decision per sample, the expectation kept."""

import keras
import numpy as np
import pytest

from tests.helpers import arrays, gradients, images, training_step
from tfdeep.layers import DropPath


def drop(rate, x, seed=0, **kwargs):
    return arrays([DropPath(rate, seed=seed)(x, training=True, **kwargs)])[0]


@pytest.mark.parametrize("rate", [0, 0.0, 0.4])
def test_inference_is_the_identity(rate):
    x = images(3, 4, 4, 2)
    y, dx, _ = gradients(DropPath(rate), x, training=False)
    np.testing.assert_array_equal(y, x)
    plain = gradients(keras.layers.Identity(), x)
    np.testing.assert_array_equal(dx, plain[1])


def test_rate_0_is_the_identity_in_training():
    x = images(3, 4)
    np.testing.assert_array_equal(drop(0.0, x), x)


def test_rate_1_drops_everything():
    y, dx, _ = gradients(DropPath(1.0), images(3, 4), training=True)
    assert not np.any(y) and not np.any(dx)


@pytest.mark.parametrize("shape", [(400,), (400, 3), (400, 2, 2, 3)])
def test_each_sample_is_dropped_whole_or_scaled(shape):
    rate = 0.25
    x = np.abs(images(*shape)) + 1
    y = drop(rate, x)
    kept = (y != 0).reshape(len(y), -1)
    assert np.all(kept.all(1) == kept.any(1))
    expected = np.where((y != 0), x / (1 - rate), 0)
    np.testing.assert_allclose(y, expected, rtol=1e-6)
    bound = 4 * np.sqrt(400 * rate * (1 - rate))
    assert abs(kept.all(1).sum() - 400 * (1 - rate)) < bound


def test_gradients_are_those_of_the_mask():
    layer = DropPath(0.5, seed=0)
    y, dx, _ = gradients(layer, np.ones((40, 3), "float32"), training=True)
    cotangent = np.cos(np.arange(120)).reshape(40, 3)
    assert {0.0, 2.0} == set(y.ravel().tolist())
    np.testing.assert_allclose(dx, y * cotangent, rtol=1e-5)


def test_expectation_and_variance():
    """E[y] = x and Var[y] = x^2 rate / (1 - rate), for each sample."""
    rate, draws = 0.3, 4000
    x = np.repeat(np.array([[1.0], [-2.0]], "float32"), draws, axis=0)
    y = drop(rate, x).reshape(2, draws)
    deviation = np.array([1, 2]) * np.sqrt(rate / (1 - rate))
    assert np.all(np.abs(y.mean(1) - [1, -2]) < 4 * deviation / np.sqrt(draws))
    np.testing.assert_allclose(y.std(1), deviation, rtol=0.05)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_a_small_rate_drops_in_half_precision(dtype):
    """A mask drawn in half precision would never, or too often, drop."""
    rate, samples = 1e-3, 100_000
    layer = DropPath(rate, seed=0, dtype=dtype)
    y = layer(np.ones((samples, 1), "float32"), training=True)
    assert keras.backend.standardize_dtype(y.dtype) == dtype
    dropped = np.sum(arrays([y])[0].astype("float32") == 0)
    assert abs(dropped - rate * samples) < 4 * np.sqrt(rate * samples)


def test_every_call_draws_anew_and_equal_seeds_agree():
    x = np.ones((64, 1), "float32")
    steps = [
        training_step(DropPath(0.5, seed=seed), training=True)
        for seed in (1, 1, 2)
    ]
    first, equal, other = [[step(x)[0] for _ in range(3)] for step in steps]
    np.testing.assert_array_equal(first, equal)
    assert np.any(first[0] != first[1])
    assert np.any(first[0] != other[0])


def test_a_sample_does_not_see_its_batch():
    """Dropping is decided by position: other values change nothing."""
    x = images(8, 3)
    y = drop(0.5, x)
    other = np.concatenate([x[:1], 10 * x[1:]])
    np.testing.assert_array_equal(drop(0.5, other)[0], y[0])


@pytest.mark.parametrize("rate", [-0.1, 1.5, "0.1", None, True])
def test_a_rate_outside_0_and_1(rate):
    with pytest.raises(ValueError, match="rate|[01]"):
        DropPath(rate)


def test_config_has_what_the_constructor_takes():
    layer = DropPath(0.2, seed=3, name="drop")
    config = layer.get_config()
    assert config["rate"] == 0.2 and config["seed"] == 3
    assert "noise_shape" not in config
    assert DropPath.from_config(config).get_config() == config


def test_whole_numbers_cannot_be_scaled():
    layer = DropPath(0.5, seed=0, dtype="int32")
    with pytest.raises(ValueError, match="inputs of DropPath must.*int32"):
        layer(np.ones((4, 3), "int32"), training=True)
