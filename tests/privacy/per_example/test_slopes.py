"""Gradients of slopes, of units that train and of those that are linear."""

import keras
import numpy as np
import pytest
from keras import layers

from tests.helpers import arrays, images
from tests.privacy.per_example.test_layers import batch, sequential
from tests.privacy.reference import check, cross_entropy
from tfdeep.callbacks import LinearizationScheduler
from tfdeep.layers import SparsePReLU
from tfdeep.privacy import PrivateModel


@pytest.mark.parametrize("shared", ["spatial", [2, 3], []])
def test_slopes(shared, double):
    unit = SparsePReLU(negative_slope=0.3, shared_axes=shared)
    base = sequential((4, 4, 2), [layers.Conv2D(4, 2), unit])
    linear = np.zeros(unit.slopes.shape)
    linear.flat[0] = 1.0
    unit.frozen.assign(linear)
    unit.kept.assign(linear)
    # The loop over examples knows of no penalties.
    unit.slopes.regularizer = None
    model = check(base, *batch((4, 4, 2)))
    assert model.describe_clipping().splitlines()[1].endswith("book-keeping")


def test_a_strength_that_is_written_is_used_by_the_next_step(budget):
    """It is read in the step, and is no constant of it."""
    unit = SparsePReLU()
    base = keras.Sequential([keras.Input((3,)), layers.Dense(3), unit])
    model = PrivateModel(base, plan=budget(noise_multiplier=0.0))
    model.compile(keras.optimizers.SGD(0.1), cross_entropy())
    x, y = images(32, 3), np.arange(32) % 3
    # One step of which nothing is seen but the penalty.
    base.layers[0].kernel.assign(np.zeros((3, 3)))
    model.fit(x, y, batch_size=8, steps_per_epoch=1, verbose=0)
    before = arrays([unit.slopes])[0]
    unit.strength_now.assign(1.0)
    model.fit(x, y, batch_size=8, steps_per_epoch=1, verbose=0)
    moved = arrays([unit.slopes])[0] - before
    assert (moved > 0.02).all()


def test_a_private_fit_makes_units_linear(budget):
    base = keras.Sequential([keras.Input((3,)), layers.Dense(3), SparsePReLU()])
    model = PrivateModel(base, plan=budget(noise_multiplier=0.1))
    model.compile(keras.optimizers.SGD(0.1), cross_entropy())
    history = model.fit(
        *(images(32, 3), np.arange(32) % 3),
        batch_size=8,
        epochs=3,
        verbose=0,
        callbacks=[LinearizationScheduler(1, 3, 20.0)],
    ).history
    assert history["active_units"] == [3.0, 0.0, 0.0]
    assert history["path_length"][-1] == 0.0
