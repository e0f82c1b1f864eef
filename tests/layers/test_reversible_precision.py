"""Many blocks are undone exactly enough in single and in half precision."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from tests.helpers import copy_weights, gradients, images
from tests.layers.chains import dense, twins, whole_error
from tfdeep.layers import ReversibleStack
from tfdeep.layers.precise import numbers


def straight():
    """With a kink, at which any difference in its input is one in its slope."""
    return layers.Dense(8, "relu")


def normed():
    """The branch of a pre-activation residual net."""
    return keras.Sequential(
        [
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.Conv2D(4, 3, padding="same"),
        ]
    )


def difference(blocks, shape, mode, **settings):
    """The relative error of the gradient by all weights."""
    stacks = twins(blocks, shape[1:], **settings)
    rng = np.random.default_rng(0)
    for weight in stacks[0].trainable_variables:
        values = rng.normal(size=weight.shape)
        if len(weight.shape) > 1:
            weight.assign(values / np.sqrt(np.prod(weight.shape[:-1])))
    copy_weights(*stacks)
    # What runs from block to block is the same, to the last digit.
    stacks[1].kept = stacks[0].kept
    found = [
        gradients(stack, images(*shape), mode, training=True)[2]
        for stack in stacks
    ]
    return whole_error(*found)


# As many blocks as are undone from one kept pair, or several times as many.
@pytest.mark.slow
@pytest.mark.parametrize(
    ("main", "gamma", "count", "mode"),
    [
        (lambda: dense(8), 0.5, 30, True),
        (lambda: dense(8), 0.9, 100, True),
        (straight, 0.9, 42, "xla"),
        (normed, 0.9, 40, "xla"),
    ],
    ids=["tanh 0.5", "tanh 0.9", "relu", "normed"],
)
def test_many_blocks_in_single_precision(main, gamma, count, mode):
    shape = (16, 5, 5, 4) if main is normed else (16, 8)

    def blocks():
        return [main() for _ in range(count)]

    assert difference(blocks, shape, mode, gamma=gamma) < 1e-5


def test_half_precision_blocks_see_what_they_saw():
    def blocks():
        return [
            layers.Dense(8, "tanh", dtype="mixed_bfloat16") for _ in range(20)
        ]

    # The sums over the batch are rounded to eight digits.
    assert difference(blocks, (16, 8), True) < 1e-2


def test_stream_stays_single_under_mixed_precision():
    seen = []

    class Look(layers.Layer):
        def call(self, x):
            seen.append(keras.backend.standardize_dtype(x.dtype))
            return x

    stack = ReversibleStack([Look(dtype="mixed_bfloat16")])
    x = ops.cast(images(2, 4), "bfloat16")
    coupling = stack.pairing(training=True)
    assert isinstance(coupling.kept, type(numbers("float32", wide=True)))
    pair = coupling.start(stack.stream(x))
    within = coupling.seen(*pair)
    assert keras.backend.standardize_dtype(within.dtype) == "float32"
    for training in (True, False):
        y = stack(x, training=training)
        assert set(seen) == {"bfloat16"}
        assert keras.backend.standardize_dtype(y.dtype) == "bfloat16"
