"""Channels first computes what channels last does."""

from functools import cache

import keras
import numpy as np
import pytest

from tests.contract.cases import CASES, SEED, layer_names
from tests.contract.harness import (
    BACKEND,
    assert_all_close,
    build,
    disturb,
    images,
    train,
    values,
)


def channels_first(x):
    return np.ascontiguousarray(np.moveaxis(x, -1, 1))


def takes_data_format(name: str) -> bool:
    return name not in layer_names() or "data_format" in build(
        name
    ).get_config()


NAMES = [name for name in CASES if takes_data_format(name)]


@cache
def convolution_trains() -> bool:
    """Whether this machine trains a channels-first convolution of Keras."""
    layer = keras.layers.Conv2D(
        *(2, 3, 2, "same", "channels_first"), input_shape=(4, 6, 6)
    )
    return layer is not None


def model_in(name: str, data_format: str, **kwargs) -> keras.Model:
    """The model of a case in a data format."""
    shape = CASES[name].shape
    if data_format == "channels_first":
        shape = (shape[-1], *shape[:-1])
    kwargs["data_format"] = data_format
    if name not in layer_names():
        return build(name, input_shape=shape, **kwargs)
    return keras.Sequential(
        [
            keras.Input(shape),
            build(name, **kwargs),
            keras.layers.GlobalAveragePooling2D(data_format),
            keras.layers.Dense(
                3, kernel_initializer=keras.initializers.HeNormal(SEED)
            ),
        ]
    )


@pytest.mark.parametrize("name", NAMES)
def test_channels_first_equals_channels_last(name):
    first = model_in(name, "channels_first", **CASES[name].alone)
    last = model_in(name, "channels_last", **CASES[name].alone)
    disturb(last)
    first.set_weights(last.get_weights())
    x = images(name, 4)
    np.testing.assert_allclose(
        np.array(first(channels_first(x), training=False)),
        np.array(last(x, training=False)),
        *(1e-5, 1e-5),
    )
    train(first, channels_first(x))
    train(last, x)
    assert_all_close(values(first), values(last), 1e-4)
