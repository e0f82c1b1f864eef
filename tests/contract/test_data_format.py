"""Channels first computes what channels last does."""

import keras
import numpy as np
import pytest

from tests.contract.cases import CASES, SEED, layer_names, names
from tests.contract.harness import (
    FEW_STEPS,
    assert_all_close,
    build,
    disturb,
    images,
    infer,
    train,
    values,
)


def channels_first(x):
    return np.ascontiguousarray(np.moveaxis(x, -1, 1))


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


@pytest.mark.parametrize("name", names(data_format=True))
def test_channels_first_equals_channels_last(name):
    first = model_in(name, "channels_first", **CASES[name].alone)
    last = model_in(name, "channels_last", **CASES[name].alone)
    disturb(last)
    first.set_weights(last.get_weights())
    x = images(name, 4)
    np.testing.assert_allclose(
        infer(first, channels_first(x)),
        infer(last, x),
        *(1e-5, 1e-5),
    )
    train(first, channels_first(x), **FEW_STEPS)
    train(last, x, **FEW_STEPS)
    assert_all_close(values(first), values(last), 1e-4)
