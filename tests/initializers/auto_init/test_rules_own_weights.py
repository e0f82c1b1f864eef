"""Layers whose own weights shape the signal: slopes, recurrent kernels."""

import keras
import numpy as np
import pytest
from keras import layers

from tests.initializers.unchanged import unchanged
from tfdeep.initializers import AutoInit, propagate
from tfdeep.layers import SparsePReLU


@pytest.mark.parametrize("shared", [None, (1, 2)])
def test_prelu_is_exact_with_a_slope_for_each_unit(shared):
    """E[y^2] = (1 + alpha^2) / 2 of a normal variable of variance 1."""
    model = keras.Sequential(
        [
            keras.Input((6, 6, 4)),
            layers.Conv2D(8, 3),
            layers.PReLU("random_normal", shared_axes=shared),
            layers.Conv2D(3, 2),
        ]
    )
    alpha = model.layers[1].alpha
    alpha.assign(np.random.default_rng(0).normal(0, 0.5, alpha.shape))
    init = AutoInit(seed=0)
    init.initialize_model(model, strict=True)
    slopes = np.array(alpha)
    _, prelu, last = init.report.records
    second = (1 + np.mean(slopes**2)) / 2
    assert prelu.second == pytest.approx(second, rel=1e-6)
    mean = (1 - np.mean(slopes)) / np.sqrt(2 * np.pi)
    assert prelu.mean == pytest.approx(mean, rel=1e-6)
    assert last.second == pytest.approx(1.0, rel=1e-6)
    if shared:
        scale = (32 * second) ** -0.5
        assert last.scale == pytest.approx(scale, rel=1e-6)


def test_recurrent_layers_are_predicted_over_several_kernels():
    """Of one draw of 4 units the second moment scatters by a sixth."""

    def predicted(seed):
        keras.utils.set_random_seed(seed)
        model = keras.Sequential([keras.Input((4, 8)), layers.LSTM(4)])
        init = AutoInit(seed=seed)
        init.initialize_model(model)
        return init.report.records[-1].second

    found = [predicted(seed) for seed in range(8)]
    assert np.std(found) < 0.1 * np.mean(found)


def test_their_kernels_come_back():
    inner = layers.Bidirectional(layers.GRU(4, return_sequences=True))
    model = keras.Sequential([keras.Input((6, 8)), inner])
    with unchanged(model):
        propagate(model)
    recurrent = np.array(inner.forward_layer.cell.recurrent_kernel)
    AutoInit(seed=0).initialize_model(model)
    np.testing.assert_array_equal(
        recurrent, inner.forward_layer.cell.recurrent_kernel
    )


@pytest.mark.parametrize("linear", [False, True])
def test_sparse_prelu_is_exact_with_the_slopes_in_force(linear):
    """(1 + a^2) / 2 of what trains, 1 of what is linear."""
    model = keras.Sequential(
        [
            keras.Input((6, 6, 4)),
            layers.Conv2D(8, 3),
            SparsePReLU(),
            layers.Conv2D(3, 2),
        ]
    )
    unit = model.layers[1]
    slopes = np.random.default_rng(0).normal(0, 0.5, unit.slopes.shape)
    if linear:
        slopes.flat[:4] = 1.0
    unit.slopes.assign(slopes)
    unit.freeze()
    unit.slopes.assign(np.zeros_like(slopes))
    init = AutoInit(seed=0)
    init.initialize_model(model, strict=True)
    record = init.report.records[1]
    slopes = np.where(slopes >= 0.99, 1.0, slopes)
    second = (1 + np.mean(slopes**2)) / 2
    assert record.second == pytest.approx(second, rel=1e-6)
    assert not np.array(unit.slopes).any()
