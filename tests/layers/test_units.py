"""Initialisation, normalization, decay and seeds of the units."""

import itertools
import math

import keras
import numpy as np
import pytest

from tests.helpers import arrays, reference_gradients
from tfdeep.layers import BasicBlock
from tfdeep.layers.units import ConvUnits, l2_decay, seed_stream


def test_seeds_are_distinct_and_repeatable():
    first, second, other = (
        list(itertools.islice(seed_stream(seed), 50)) for seed in (0, 0, 1)
    )
    assert first == second
    assert len({*first, *other}) == 100
    assert all(0 <= seed < 2**31 for seed in first)


def test_no_seed_stays_none():
    assert list(itertools.islice(seed_stream(None), 3)) == [None] * 3


def test_decay_has_gradient_wd_times_w():
    weight = np.array([1.0, -2.0, 0.0], "float32")
    _, (gradient,) = reference_gradients(l2_decay(0.1), weight)
    np.testing.assert_allclose(gradient, 0.1 * weight, rtol=1e-6)
    assert l2_decay(0.0) is None


@pytest.mark.parametrize(
    "fan_mode,fan", [("fan_in", 9 * 32), ("fan_out", 9 * 64)]
)
def test_convolutions_are_he_normal(fan_mode, fan):
    """Variance 2 / fan, and values beyond two deviations: not truncated."""
    layer = ConvUnits(fan_mode=fan_mode, seed=0).conv_unit(64, 3)
    layer.build((None, 8, 8, 32))
    (kernel,) = arrays(layer.weights)
    deviation = math.sqrt(2 / fan)
    assert np.std(kernel) == pytest.approx(deviation, rel=0.03)
    assert np.abs(np.mean(kernel)) < 0.03 * deviation
    outside = np.mean(np.abs(kernel) > 2 * deviation)
    assert outside == pytest.approx(0.0455, abs=0.01)


@pytest.mark.parametrize(
    "channels,groups", [(32, 32), (64, 32), (48, 16), (6, 2), (7, 1)]
)
def test_group_norm_takes_at_most_32_groups(channels, groups):
    layer = ConvUnits(norm="group").norm_unit(channels)
    assert isinstance(layer, keras.layers.GroupNormalization)
    assert layer.groups == groups


def test_batch_norm_is_that_of_the_papers():
    layer = ConvUnits().norm_unit(4)
    assert (layer.momentum, layer.epsilon) == (0.9, 1e-5)


def test_dropout_only_where_it_drops():
    units = ConvUnits(seed=0)
    assert units.dropout_units(0) == []
    (layer,) = units.dropout_units(0.2)
    assert layer.rate == 0.2 and layer.seed is not None


def weights(seed):
    block = BasicBlock(4, seed=seed)
    block.build((None, 8, 8, 4))
    return [w for w in arrays(block.trainable_variables) if w.ndim == 4]


def test_one_seed_gives_equal_weights_and_unequal_layers():
    (first, second), (third, fourth) = weights(3), weights(3)
    np.testing.assert_array_equal(first, third)
    np.testing.assert_array_equal(second, fourth)
    assert np.any(first != second)
    assert np.any(first != weights(4)[0])
    assert np.any(weights(None)[0] != weights(None)[0])


def test_decay_of_a_block_is_that_of_its_weights():
    block = BasicBlock(4, 2, weight_decay=0.1, use_bias=True)
    block.build((None, 8, 8, 4))
    for weight in block.trainable_variables:
        weight.assign(np.full(weight.shape, 0.5, "float32"))
    count = sum(int(np.prod(w.shape)) for w in block.trainable_variables)
    total = sum(float(loss) for loss in block.losses)
    assert total == pytest.approx(0.1 / 2 * 0.25 * count, rel=1e-5)
    plain = BasicBlock(4, 2)
    plain.build((None, 8, 8, 4))
    assert plain.losses == []
