"""A layer that supports masks says so, and keeps them."""

import keras
import numpy as np
import pytest

from tests.contract.cases import CASES, layer_names
from tests.contract.harness import build

MASKED = [name for name in layer_names() if CASES[name].masked]


class ReadMask(keras.layers.Layer):
    """Returns the mask that reaches it."""

    supports_masking = True

    def call(self, inputs, mask=None):
        assert mask is not None
        return keras.ops.cast(mask, "float32")


@pytest.mark.parametrize("name", layer_names())
def test_masking_is_declared(name):
    assert build(name).supports_masking == (CASES[name].masked is not None)


@pytest.mark.parametrize("name", MASKED)
@pytest.mark.parametrize("training", [False, True])
def test_mask_is_kept(name, training):
    x = np.random.default_rng(0).normal(size=(2, 5, 4)).astype("float32")
    x[0, 3:], x[1, 1] = 0, 0
    model = keras.Sequential(
        [
            keras.Input((5, 4)),
            keras.layers.Masking(),
            CASES[name].masked(),
            ReadMask(),
        ]
    )
    for _ in range(4):  # dropped or not
        mask = np.array(model(x, training=training))
        np.testing.assert_array_equal(mask, np.any(x != 0, axis=-1))
