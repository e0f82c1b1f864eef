"""Chains whose moments are unstable: a warning, or a correction."""

import warnings

import keras
import numpy as np
import pytest
from keras import layers, ops

from tests.initializers.auto_init.nets import mlp
from tfdeep.initializers import AutoInit


def test_a_warning():
    """The growth of a small change is said, and what to do."""
    init = AutoInit(seed=0)
    with pytest.warns(UserWarning, match="polish=True"):
        init.initialize_model(mlp(20, 32, "swish"))
    assert init.report.growth > 1.5
    slopes = [r.slope for r in init.report.records]
    assert np.prod(slopes) == pytest.approx(init.report.growth)


def test_relu_is_stable():
    """A change stays as large, relative to the signal."""
    init = AutoInit(seed=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        init.initialize_model(mlp(20, 512))
    assert init.report.growth == pytest.approx(1.0)


@pytest.mark.parametrize(
    "last", [layers.BatchNormalization, layers.LayerNormalization]
)
def test_normalization_ends_the_growth(last):
    """Whatever the size was, it leaves another."""
    model = mlp(20, 32, "swish")
    model.add(last())
    init = AutoInit(seed=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        init.initialize_model(model)
    assert init.report.growth < 0.1


def outputs(model, count, seed):
    """The second moment of the outputs on inputs it has not seen."""
    x = np.random.default_rng(seed).standard_normal((count, 32), "float32")
    y = [model(part) for part in np.split(x, count // 4096)]
    return np.mean(np.square(ops.convert_to_numpy(ops.concatenate(y))))


# Seeds at which fewer inputs of a pass would not do.
@pytest.mark.parametrize(
    "activation,seed",
    [("swish", 0), ("swish", 4), ("swish", 6), ("gelu", 4), ("mish", 4)],
)
def test_a_polish(activation, seed):
    """Single inputs differ by orders of magnitude: it takes many."""
    model = mlp(20, 32, activation)
    AutoInit(seed=seed).initialize_model(model, polish=True)
    assert 0.9 < outputs(model, 2**15, 7) < 1.1


def test_a_polish_of_kernels_that_are_kept():
    """They are multiplied once more."""
    keras.utils.set_random_seed(5)
    model = mlp(20, 32, "swish")
    before = ops.convert_to_numpy(model.layers[4].kernel)
    init = AutoInit(seed=5)
    init.initialize_model(model, "rescale", polish=True)
    after = ops.convert_to_numpy(model.layers[4].kernel)
    np.testing.assert_allclose(
        after / before, after[0, 0] / before[0, 0], rtol=1e-3
    )
    assert 0.9 < outputs(model, 2**15, 99) < 1.1
    # The report has what was measured, where theory would be far off.
    x = np.random.default_rng(99).standard_normal((4096, 32), "float32")
    for layer, record in zip(
        model.layers[:12], init.report.records[:12], strict=True
    ):
        x = layer(x)
        second = np.mean(np.square(ops.convert_to_numpy(x)))
        assert record.second == pytest.approx(second, rel=0.1)


def test_a_polish_of_convolutions():
    """Outputs have the variance that was asked for."""
    model = keras.Sequential(
        [
            keras.Input((6, 6, 8)),
            layers.Conv2D(8, 3, padding="same", activation="relu"),
            layers.Conv2D(64, 3, padding="same"),
        ]
    )
    AutoInit(signal_variance=2.0, seed=0).initialize_model(model, polish=True)
    x = np.random.default_rng(3).standard_normal((256, 6, 6, 8), "float32")
    y = ops.convert_to_numpy(model(x))
    assert np.mean(np.square(y)) == pytest.approx(2.0, rel=0.05)
