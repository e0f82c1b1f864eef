"""A softmax after a layer of new weights: over its draws, not over one."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from tfdeep.initializers import AutoInit, propagate
from tfdeep.initializers.auto_init.gaussian import softmax_second


def predicted(model, seed=0):
    """The second moment of the outputs, and their mean."""
    init = AutoInit(seed=seed)
    init.initialize_model(model)
    last = init.report.records[-1]
    return last.second, last.mean


def drawn(features, units, rng, draws=100):
    """E[y^2] of the softmax over normal kernels, of outputs of variance 1."""
    size = np.sqrt(np.sum(features**2, -1).mean())
    kernels = rng.standard_normal((draws, features.shape[-1], units)) / size
    powers = np.exp(features @ kernels)
    return np.mean((powers / powers.sum(-1, keepdims=True)) ** 2)


def test_after_a_recurrent_layer():
    """Its outputs are long for some samples and short for others.

    One draw of the last kernel is 4 to 7 % from the mean over all draws.
    """

    def model():
        return keras.Sequential(
            [
                keras.Input((12, 8)),
                layers.LSTM(16),
                layers.Dense(10, "softmax"),
            ]
        )

    rng = np.random.default_rng(0)
    x = rng.standard_normal((256, 12, 8)).astype("float32")
    found, real = [], []
    for seed in range(6):
        keras.utils.set_random_seed(seed)
        net = model()
        found.append(predicted(net, seed)[0])
        features = ops.convert_to_numpy(net.layers[0](x)).astype("float64")
        real.append(drawn(features, 10, rng))
    assert np.std(found) < 0.005 * np.mean(found)
    assert np.mean(found) == pytest.approx(np.mean(real), rel=0.01)
    single = softmax_second(10, 1.0)  # If all samples were of one length.
    assert np.mean(found) < 0.995 * single


def test_samples_of_very_different_length():
    x = np.random.default_rng(1).standard_normal((256, 6)).astype("float32")
    x[::2] *= 0.1
    x *= np.mean(x**2) ** -0.5
    model = keras.Sequential([keras.Input((6,)), layers.Dense(5, "softmax")])
    init = AutoInit.from_data(x, seed=0)
    init.initialize_model(model)
    real = drawn(x.astype("float64"), 5, np.random.default_rng(0), 1000)
    assert init.report.records[-1].second == pytest.approx(real, rel=0.01)
    assert abs(softmax_second(5, 1.0) / real - 1) > 0.03


@pytest.mark.parametrize("kind", ["fused", "activation", "layer", "operation"])
def test_each_way_of_writing_it(kind):
    inputs = keras.Input((400,))
    if kind == "fused":
        outputs = layers.Dense(10, keras.activations.softmax)(inputs)
    else:
        outputs = {
            "activation": layers.Activation("softmax"),
            "layer": layers.Softmax(),
            "operation": ops.softmax,
        }[kind](layers.Dense(10)(inputs))
    second, mean = predicted(keras.Model(inputs, outputs))
    assert second == pytest.approx(softmax_second(10, 1.0), rel=2e-3)
    assert mean == pytest.approx(0.1, rel=1e-6)


def test_by_position():
    """At the rim of an image a "same" convolution adds up fewer inputs."""
    model = keras.Sequential(
        [
            keras.Input((4, 4, 40)),
            layers.Conv2D(6, 3, padding="same", activation="softmax"),
        ]
    )
    counts = np.array([2, 3, 3, 2])
    variances = np.outer(counts, counts) / np.mean(counts) ** 2
    expected = np.mean([softmax_second(6, v) for v in variances.ravel()])
    assert predicted(model)[0] == pytest.approx(expected, rel=5e-3)


@pytest.mark.parametrize("kind", ["axis", "mask", "bias", "no kernel"])
def test_others_are_measured(kind):
    x = inputs = keras.Input((6, 8))
    if kind != "no kernel":
        x = layers.Dense(
            8, bias_initializer="ones" if kind == "bias" else None
        )(x)
    softmax = layers.Softmax(axis=1 if kind == "axis" else -1)
    y = softmax(x, ops.cast(x > 0, "bool")) if kind == "mask" else softmax(x)
    model = keras.Model(inputs, y)
    count = 6 if kind == "axis" else 8
    (record,) = [r for r in propagate(model).records if r.layer == "Softmax"]
    exact = softmax_second(count, 1.0)
    assert record.second != pytest.approx(exact, rel=1e-4)
    assert record.second == pytest.approx(exact, rel=1.0)


def test_an_exact_one_of_zeros():
    model = keras.Sequential(
        [
            keras.Input((3,)),
            layers.Dense(4, "softmax", kernel_initializer="zeros"),
        ]
    )
    assert propagate(model).records[-1].second == pytest.approx(1 / 16)
