"""A `Repeat` beside its copies, one after the other."""

import keras
import numpy as np
from keras import layers

from tests.helpers import arrays, images, randomize, training_step
from tfdeep.layers import Repeat
from tfdeep.layers.copies import copies


def noisy(units=4):
    """A block with batch statistics and a random stream."""
    return keras.Sequential(
        [
            layers.Dense(units, "tanh"),
            layers.BatchNormalization(momentum=0.6),
            layers.Dropout(0.4, seed=3),
        ]
    )


def pair(layer, shape, count=3, survival=None, **settings):
    """A `Repeat` with random weights, its copies in a row, and an input."""
    ours = Repeat(layer, count, survival, **settings)
    ours.build((None, *shape))
    randomize(ours)
    row = keras.Sequential(copies(ours))
    row.build((None, *shape))
    return ours, row, images(6, *shape)


def stacked_like(ours, per_copy):
    """Values of the copies, in their order, as the stacked ones."""
    size = len(per_copy) // ours.num_repeats
    rows = [per_copy[i : i + size] for i in range(0, len(per_copy), size)]
    return [np.stack(column) for column in zip(*rows, strict=True)]


def near(ours, theirs, tolerance=2e-6):
    """Equal within rounding, as a part of the largest value."""
    for a, b in zip(ours, theirs, strict=True):
        bound = tolerance * max(1.0, np.abs(b).max())
        np.testing.assert_allclose(a, b, rtol=0, atol=bound)


def state_of(ours):
    """The state of the copies in the order in which a copy has it."""
    return arrays(v for v in ours.template.stacked if not v.trainable)


def state_of_row(ours, row):
    """The same of the copies in a row, stacked."""
    state = [v for part in row.layers for v in part.non_trainable_variables]
    return stacked_like(ours, arrays(state))


def compare(ours, row, x, compiled=None, steps=1, training=True):
    """Outputs, gradients and the new state are those of the row.

    With several steps, each goes on from the state of the one before. A graph
    rounds differently from the row, which is called as it is: it is compared
    in double precision.
    """
    tolerance = 2e-6 if keras.config.floatx() == "float32" else 1e-12
    step = training_step(ours, compiled, training=training)
    expected_step = training_step(row, None, training=training)
    x = x.astype(keras.config.floatx())
    for _ in range(steps):
        y, dx, dw = step(x)
        expected = expected_step(x)
        near([y, dx], expected[:2], tolerance)
        if dw:
            near(dw, stacked_like(ours, expected[2]), 5 * tolerance)
        if row.non_trainable_variables:
            near(state_of(ours), state_of_row(ours, row), tolerance)
