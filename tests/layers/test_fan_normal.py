"""The values of Keras' own initializer, from few compiled programs."""

import logging

import keras
import numpy as np
import pytest
from keras import ops

from tests.helpers import BACKEND
from tfdeep.layers.fan_normal import FanNormal
from tfdeep.layers.units import ConvUnits

# Sizes below, at and above those that are drawn at once.
SHAPES = [
    (5, 3),
    (1, 1, 64, 64),
    (3, 3, 21, 22),
    (3, 3, 64, 65),
    (1, 1, 1024, 1025),
]


def plain(scale, mode, seed):
    return keras.initializers.VarianceScaling(
        scale, mode, "untruncated_normal", seed
    )


def values(initializer, shape, dtype=None):
    drawn = initializer(shape, dtype=dtype)
    expected = dtype or "float32"
    assert keras.backend.standardize_dtype(drawn.dtype) == expected
    return ops.convert_to_numpy(ops.cast(drawn, "float32"))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("mode", ["fan_in", "fan_out"])
def test_values_are_those_of_keras(shape, mode):
    settings = (1.5, mode, 2**31 - 2)
    np.testing.assert_array_equal(
        values(FanNormal(*settings), shape), values(plain(*settings), shape)
    )


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision(dtype):
    settings, shape = (2.0, "fan_out", 3), (3, 3, 8, 12)
    np.testing.assert_array_equal(
        values(FanNormal(*settings), shape, dtype),
        values(plain(*settings), shape, dtype),
    )


def test_a_stream_moves_on():
    ours, theirs = (keras.random.SeedGenerator(5) for _ in range(2))
    for _ in range(2):
        np.testing.assert_array_equal(
            values(FanNormal(seed=ours), (4, 6)),
            values(plain(2.0, "fan_out", theirs), (4, 6)),
        )


def test_a_traced_draw():
    """As Keras draws a variable that is spread over devices."""
    if BACKEND == "jax":
        import jax as backend_of_test

        compiled = backend_of_test.jit(lambda: FanNormal(seed=1)((3, 4)))
    else:
        import tensorflow as backend_of_test

        compiled = backend_of_test.function(lambda: FanNormal(seed=1)((3, 4)))
    np.testing.assert_allclose(
        ops.convert_to_numpy(compiled()),
        values(FanNormal(seed=1), (3, 4)),
        rtol=1e-6,
    )


@pytest.mark.skipif(BACKEND != "jax", reason="JAX alone compiles each draw")
def test_kernels_of_similar_sizes_share_a_program(caplog):
    import jax

    shapes = [(3, 3, 11, 13), (1, 1, 17, 19), (5, 7, 23)]
    FanNormal(seed=0)(shapes[0])
    with jax.log_compiles(), caplog.at_level(logging.WARNING):
        for shape in shapes:
            FanNormal(seed=1)(shape)
        assert not caplog.messages
        plain(2.0, "fan_out", 1)(shapes[1])  # Were it compiled, we would know.
        assert caplog.messages


def test_round_trip():
    initializer = FanNormal(1.0, "fan_in", 7)
    config = keras.saving.serialize_keras_object(initializer)
    again = keras.saving.deserialize_keras_object(config)
    assert isinstance(again, FanNormal)
    assert again.get_config() == initializer.get_config()
    assert FanNormal().get_config()["seed"] is None


def test_units_begin_with_it():
    layer = ConvUnits(fan_mode="fan_in", seed=0).conv_unit(4, 3)
    assert isinstance(layer.kernel_initializer, FanNormal)
    assert layer.kernel_initializer.mode == "fan_in"
