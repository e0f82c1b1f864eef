"""The moments that layers without kernels are said to leave, one by one."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from tests.initializers.auto_init.nets import single
from tfdeep.initializers import AutoInit, propagate


def moments(model, *arguments):
    """Mean and second moment after the last layer."""
    record = propagate(model, *arguments, draws=1, strict=True).records[-1]
    return record.mean, record.second


# Layers, statistics of their inputs, and what they leave of these.
EXACT = {
    "relu": (layers.ReLU(), (0.0, 4.0), (2 / np.sqrt(2 * np.pi), 2.0)),
    "leaky relu": (
        layers.LeakyReLU(negative_slope=0.5),
        (0.0, 4.0),
        (1 / np.sqrt(2 * np.pi), 2.5),
    ),
    "function": (layers.Activation(ops.exp), (0.0, 0.25), (np.e**0.125, np.e**0.5)),
    "dropout": (layers.Dropout(0.75), (1.0, 2.0), (1.0, 12.0)),
    "no dropout": (layers.Dropout(0.0), (1.0, 2.0), (1.0, 3.0)),
    "gaussian dropout": (layers.GaussianDropout(0.2), (1.0, 2.0), (1.0, 3.75)),
    "gaussian noise": (layers.GaussianNoise(0.5), (1.0, 2.0), (1.0, 3.25)),
    "zeros beside": (layers.ZeroPadding1D(2), (1.0, 2.0), (0.5, 1.5)),
    "cropped": (layers.Cropping1D(1), (1.0, 2.0), (1.0, 3.0)),
    "repeated": (layers.UpSampling1D(2), (1.0, 2.0), (1.0, 3.0)),
    "batch normalization": (
        layers.BatchNormalization(
            epsilon=1.0,
            gamma_initializer=keras.initializers.Constant(2.0),
            beta_initializer=keras.initializers.Constant(3.0),
        ),
        (5.0, 3.0),
        (3.0, 3 / 4 * 4 + 9),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", EXACT)
def test_moments_that_are_known(name):
    """By theory, not by one sample."""
    layer, statistics, expected = EXACT[name]
    found = moments(single(layer, 4, 16), *statistics)
    tolerance = 0.02 if "batch" in name else 1e-4
    np.testing.assert_allclose(found, expected, rtol=tolerance)


def test_a_function_of_inputs_with_a_mean_is_measured():
    """Exact moments are those of centered normal values alone."""
    z = np.random.default_rng(0).standard_normal(10**6)
    values = np.maximum(1.0 + 2**0.5 * z, 0.0)
    expected = values.mean(), np.mean(values**2)
    found = moments(single(layers.ReLU(), 4, 64), 1.0, 2.0)
    np.testing.assert_allclose(found, expected, rtol=0.02)


def test_batch_normalization_that_is_frozen_uses_what_it_has_seen():
    """(x - m) / sqrt(v)"""
    layer = layers.BatchNormalization(epsilon=0.0)
    model = single(layer, 16)
    layer.moving_mean.assign(np.full(16, 1.0))
    layer.moving_variance.assign(np.full(16, 4.0))
    layer.trainable = False
    np.testing.assert_allclose(moments(model, 3.0, 8.0), [1.0, 3.0], rtol=1e-3)


@pytest.mark.parametrize(
    "layer",
    [layers.LayerNormalization(), layers.GroupNormalization(2)],
    ids=["layer", "group"],
)
def test_normalization_within_a_sample(layer):
    """It leaves a second moment of 1."""
    found = moments(single(layer, 64), 3.0, 8.0)
    np.testing.assert_allclose(found, [0.0, 1.0], atol=2e-3)


def test_sums_of_independent_branches():
    """Second moments add up; those of one another's images are measured."""
    inputs = keras.Input((128,))
    one, other = (layers.Dense(128)(inputs) for _ in range(2))
    outputs = [
        layers.Add(name="plus")([one, other]),
        layers.Subtract(name="minus")([one, other]),
        layers.Average(name="average")([one, other]),
        layers.Add(name="twice")([one, one]),
        layers.Subtract(name="nothing")([one, one]),
        layers.Add(name="past")([inputs, one]),
        one + other,
        one - other,
        one + 3.0,
    ]
    init = AutoInit(0.0, 1.0, 2.0, seed=0)
    init.initialize_model(keras.Model(inputs, outputs))
    report = init.report
    expected = {
        "plus": 4.0, "minus": 4.0, "average": 1.0,
        "twice": 8.0, "nothing": 0.0, "past": 3.0,
    }  # fmt: skip
    for name, second in expected.items():
        assert report[name].second == pytest.approx(second, rel=1e-5), name
    # Of nodes of `keras.ops` the same, and a number is added to the mean.
    *nodes, shifted = sorted(
        record.second
        for record in report.records
        if record.layer in ("Add", "Subtract") and record.name not in expected
    )
    assert nodes == pytest.approx([4.0, 4.0])
    assert shifted == pytest.approx(2.0 + 9.0, rel=0.05)
    # Of a sum of a branch and what passed it by: the variance of the branch.
    assert report["past"].branch == pytest.approx(2.0)
    assert report["plus"].branch is None


def test_nodes_of_keras_ops_are_functions_or_measured():
    inputs = keras.Input((6, 16))
    y = layers.Dense(16)(inputs)
    y = keras.ops.softsign(y)  # Of each value.
    y = keras.ops.reshape(y, (-1, 96))
    first, _ = keras.ops.split(y, 2, axis=-1)
    model = keras.Model(inputs, keras.ops.softmax(3.0 * first))
    init = AutoInit(seed=0)
    init.initialize_model(model)
    records = {r.layer: r for r in init.report.records}
    z = np.random.default_rng(0).standard_normal(10**6)
    expected = np.mean((z / (1 + np.abs(z))) ** 2)
    np.testing.assert_allclose(records["Softsign"].second, expected, rtol=0.01)
    np.testing.assert_allclose(records["Split"].second, expected, rtol=0.05)
    assert records["Softmax"].mean == pytest.approx(1 / 48, rel=1e-3)


def test_an_activation_across_values_is_measured():
    """It is no function of each value by itself."""
    found = moments(single(layers.Activation("softmax"), 16), 0.0, 4.0)
    z = 2 * np.random.default_rng(0).standard_normal((10**5, 16))
    y = np.exp(z) / np.exp(z).sum(-1, keepdims=True)
    np.testing.assert_allclose(found, [1 / 16, np.mean(y**2)], rtol=0.02)


def test_an_activation_that_takes_one_width_is_measured():
    """It cannot be tried on values of another shape."""
    turned = np.eye(16, dtype="float32")[::-1]
    layer = layers.Activation(lambda x: 2.0 * ops.matmul(x, turned))
    np.testing.assert_allclose(
        moments(single(layer, 16), 0.0, 4.0), [0.0, 16.0], rtol=0.02, atol=0.02
    )


def test_a_function_of_keras_ops():
    """E (x + relu(x))^2 = (1 + 4) / 2"""
    inputs = keras.Input((64,))
    y = layers.Dense(64)(inputs)
    y = y + keras.ops.relu(y)
    model = keras.Model(inputs, layers.Dense(8)(y))
    init = AutoInit(seed=0)
    init.initialize_model(model)
    np.testing.assert_allclose(
        init.report.records[-1].scale, (64 * 2.5) ** -0.5, rtol=0.02
    )


def test_recurrent_layers_get_the_kernel_of_their_inputs():
    """The first cell of several, and both directions."""
    inputs = keras.Input((3, 50))
    stacked = layers.StackedRNNCells([layers.GRUCell(40), layers.GRUCell(4)])
    both = layers.Bidirectional(layers.SimpleRNN(40))
    cells = [
        layers.LSTM(40),
        layers.RNN(stacked),
        both,
    ]
    model = keras.Model(inputs, [cell(inputs) for cell in cells])
    recurrent = {
        v.path: np.array(v) for v in model.variables if "recurrent" in v.path
    }
    AutoInit(0.0, 2.0, seed=0).initialize_model(model)
    kernels = [
        cells[0].cell.kernel,
        stacked.cells[0].kernel,
        both.forward_layer.cell.kernel,
        both.backward_layer.cell.kernel,
    ]
    for kernel in kernels:
        deviation = np.std(ops.convert_to_numpy(kernel))
        assert deviation == pytest.approx(0.1, rel=0.05)
    for variable in model.variables:
        if variable.path in recurrent:
            np.testing.assert_array_equal(
                np.array(variable), recurrent[variable.path]
            )


def test_steps_in_time_are_further_samples():
    """The layer inside has the scale that it has alone."""
    layer = layers.TimeDistributed(layers.Conv2D(4, 3))
    init = AutoInit(seed=0)
    init.initialize_model(single(layer, 2, 5, 5, 4))
    inner, outer = init.report.records
    assert inner.scale == pytest.approx(1 / 6)
    assert (inner.second, outer.second) == pytest.approx((1.0, 1.0))
