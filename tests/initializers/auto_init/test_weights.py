"""The laws that kernels are drawn from."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from tests.initializers.auto_init.nets import mlp, single
from tfdeep.initializers import AutoInit, propagate


def drawn(layer, *shape, **kwargs):
    """The kernel that a layer is given, and the deviation it should have."""
    model = single(layer, *shape, batch_size=4)
    init = AutoInit(seed=0, **kwargs)
    init.initialize_model(model)
    kernel = ops.convert_to_numpy(layer.kernel)
    return kernel.astype("float64"), init.report.records[0].scale


@pytest.mark.parametrize(
    "law", ["truncated_normal", "untruncated_normal", "uniform"]
)
def test_distributions_have_the_deviation(law):
    """And a mean of 0 and their own limits."""
    values, scale = drawn(layers.Dense(500), 400, distribution=law)
    assert scale == pytest.approx(1 / 20)
    np.testing.assert_allclose(values.std(), scale, rtol=0.01)
    assert abs(values.mean()) < 0.02 * scale
    limit = {"truncated_normal": 2 / 0.87962566, "uniform": 3**0.5}
    largest = np.abs(values).max() / scale
    if law in limit:
        assert 0.99 * limit[law] < largest <= limit[law] * (1 + 1e-6)
    else:
        assert largest > 4


@pytest.mark.parametrize(
    "layer,shape",
    [
        (lambda: layers.Dense(50), (20,)),
        (lambda: layers.Dense(20), (50,)),
        (lambda: layers.Conv2D(8, 3), (5, 5, 4)),
    ],
)
def test_orthogonal_kernels_have_the_deviation(layer, shape):
    """Of the shorter side all vectors are orthogonal and as long."""
    values, scale = drawn(layer(), *shape, distribution="orthogonal")
    flat = values.reshape(-1, values.shape[-1])
    small = flat if flat.shape[0] > flat.shape[1] else flat.T
    gram = small.T @ small
    np.testing.assert_allclose(values.std(), scale, rtol=0.02)
    np.testing.assert_allclose(
        gram, scale**2 * small.shape[0] * np.eye(len(gram)), atol=1e-6
    )


def test_the_law_is_a_truncated_normal_unless_another_is_asked_for():
    expected, _ = drawn(layers.Dense(9), 9, distribution="truncated_normal")
    values, _ = drawn(layers.Dense(9), 9)
    np.testing.assert_array_equal(values, expected)


def test_seeds():
    """Equal ones give equal weights, and no two layers the same."""
    first, second, other = (mlp(2, 32) for _ in range(3))
    AutoInit(seed=1).initialize_model(first)
    AutoInit(seed=1).initialize_model(second)
    AutoInit(seed=2).initialize_model(other)
    for a, b in zip(first.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert np.any(first.get_weights()[0] != other.get_weights()[0])
    one, next_one = first.get_weights()[0], first.get_weights()[2]
    assert not np.allclose(one / one.std(), next_one / next_one.std())


def test_redrawn_kernels_have_no_mean():
    """Shuffled alone they would keep theirs, which adds up in an average."""

    def averaged(shift):
        model = keras.Sequential(
            [
                keras.Input((8, 8, 8)),
                layers.Conv2D(16, 3, activation="relu"),
                layers.Conv2D(64, 3),
                layers.GlobalAveragePooling2D(),
            ]
        )
        kernel = model.layers[1].kernel
        values = np.random.default_rng(0).normal(shift, 1.0, kernel.shape)
        kernel.assign(values / np.sqrt(np.mean(values**2)))
        return propagate(model).records[-1].second

    assert averaged(0.5) == pytest.approx(averaged(0.0), rel=0.1)
