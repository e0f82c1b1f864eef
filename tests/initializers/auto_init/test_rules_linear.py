"""The scale of each kernel is that of what its layer really sums."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from tests.initializers.auto_init.nets import mlp, single
from tfdeep.initializers import AutoInit, propagate


def scales(model, *arguments):
    """The standard deviations of the kernels, call by call."""
    init = AutoInit(*arguments, seed=0)
    init.initialize_model(model)
    return [record.scale for record in init.report.records if record.scale]


def test_a_chain_of_dense_layers():
    """After a ReLU half of the second moment is left."""
    expected = [1 / 8, *[(2 / 128) ** 0.5] * 4]
    found = scales(mlp(4, 128, inputs=64))
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_a_chain_with_batch_normalization():
    """Keras' epsilon of 1e-3 counts: a signal of variance v leaves with
    v / (v + epsilon). Here it is left out, as if v were large."""
    x = inputs = keras.Input((64,))
    for _ in range(3):
        x = layers.BatchNormalization(epsilon=1e-8)(layers.Dense(128)(x))
        x = layers.ReLU()(x)
    found = scales(keras.Model(inputs, layers.Dense(10)(x)))
    expected = [1 / 8, *[(2 / 128) ** 0.5] * 3]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_statistics_of_the_inputs_and_the_variance_asked_for():
    """s / (fan (v + mu^2))"""
    expected = (4 / (64 * 25.01)) ** 0.5
    found = scales(mlp(1, 16, inputs=64), 5.0, 0.01, 4.0)
    np.testing.assert_allclose(found[0], expected)


def test_a_valid_convolution():
    found = scales(single(layers.Conv2D(8, 3, activation="relu"), 9, 9, 4))
    np.testing.assert_allclose(found, [1 / 6], rtol=1e-6)


def test_padding_counts_the_taps_inside():
    found = scales(single(layers.Conv2D(8, 3, padding="same"), 4, 4, 2))
    taps = (10 / 4) ** 2  # Of 3 along each axis: 2, 3, 3 and 2.
    np.testing.assert_allclose(found, [(2 * taps) ** -0.5], rtol=1e-6)


LAYERS = {
    "dense": (layers.Dense, {"units": 3}, (5, 8)),
    "einsum": (
        layers.EinsumDense,
        {"equation": "abcd,de->abce", "output_shape": (None, None, 8)},
        (6, 6, 4),
    ),
    "conv1d": (layers.Conv1D, {"padding": "same"}, (9, 4)),
    "causal": (
        layers.Conv1D,
        {"padding": "causal", "dilation_rate": 2},
        (7, 4),
    ),
    "strided": (layers.Conv2D, {"padding": "same", "strides": 2}, (6, 7, 4)),
    "dilated": (
        layers.Conv2D,
        {"padding": "same", "dilation_rate": 2},
        (7, 7, 4),
    ),
    "grouped": (layers.Conv2D, {"groups": 4}, (6, 6, 4)),
    "channels first": (
        layers.Conv2D,
        {"padding": "same", "data_format": "channels_first"},
        (4, 5, 6),
    ),
    "conv3d": (layers.Conv3D, {"padding": "same"}, (4, 4, 4, 2)),
    "depthwise1d": (layers.DepthwiseConv1D, {"padding": "same"}, (6, 4)),
    "depthwise2d": (
        layers.DepthwiseConv2D,
        {"padding": "same", "strides": 2, "depth_multiplier": 2},
        (6, 6, 4),
    ),
    "transposed1d": (layers.Conv1DTranspose, {"strides": 2}, (5, 4)),
    "transposed2d": (
        layers.Conv2DTranspose,
        {"padding": "same", "strides": 2, "output_padding": 1},
        (5, 5, 4),
    ),
    "transposed3d": (layers.Conv3DTranspose, {}, (3, 3, 3, 2)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_a_sum_of_ones_counts_the_inputs(name):
    """Ones, by a kernel of ones, add up to the number of inputs."""
    kind, arguments, shape = LAYERS[name]
    arguments = dict(arguments)
    if issubclass(kind, (layers.DepthwiseConv1D, layers.DepthwiseConv2D)):
        arguments["kernel_size"] = 3
    elif kind not in (layers.Dense, layers.EinsumDense):
        arguments |= {"filters": 8, "kernel_size": 3}
    layer = kind(**arguments)
    model = single(layer, *shape, batch_size=4)
    before = layer.get_weights()
    layer.kernel.assign(np.ones(layer.kernel.shape))
    counts = ops.convert_to_numpy(model(np.ones((4, *shape), "float32")))
    layer.set_weights(before)
    (scale,) = scales(model)
    np.testing.assert_allclose(scale, counts.mean() ** -0.5, rtol=1e-5)
    deviation = np.std(ops.convert_to_numpy(layer.kernel))
    assert deviation == pytest.approx(scale, rel=0.25)


def test_channels_first_and_last_have_the_same_scales():
    """Also of the second layer, whose inputs differ by position."""
    found = []
    for data_format in ("channels_last", "channels_first"):
        keras.config.set_image_data_format(data_format)
        first = data_format == "channels_first"
        model = keras.Sequential(
            [
                keras.Input((3, 6, 8) if first else (6, 8, 3)),
                layers.Conv2D(8, 3, padding="same", activation="relu"),
                layers.Conv2D(8, 3, padding="same", strides=(1, 2)),
                layers.Conv2D(8, 3),
            ]
        )
        found.append(scales(model))
    np.testing.assert_allclose(*found, rtol=1e-5)


@pytest.mark.parametrize(
    "kind,shape",
    [(layers.SeparableConv1D, (9, 64)), (layers.SeparableConv2D, (6, 6, 64))],
)
def test_both_kernels_of_a_separable_convolution_keep_the_signal(kind, shape):
    """Its outputs vary by 1, over draws of both kernels."""
    model = single(kind(64, 3, padding="same"), *shape, batch_size=8)
    init = AutoInit(seed=0)
    init.initialize_model(model)
    assert init.report.records[0].scale == pytest.approx(64**-0.5)
    verified = init.report.verify(draws=12)
    assert verified.measured[0] == pytest.approx(1.0, rel=0.1)


def test_a_bias_that_is_there_counts():
    """It is the mean, and adds its square."""
    model = single(layers.Dense(4, bias_initializer="ones"), 64)
    model.layers[0].kernel.assign(np.full((64, 4), 0.25))
    (record,) = propagate(model, draws=1).records
    found = [record.mean, record.second, record.scale]
    np.testing.assert_allclose(found, [1.0, 64 / 16 + 1, 0.25], rtol=1e-5)


def test_a_table_that_is_looked_up():
    """Its rows are the outputs: their deviation is the scale."""
    inputs = keras.Input((5,), dtype="int32")
    model = keras.Model(inputs, layers.Embedding(20, 4)(inputs))
    init = AutoInit(signal_variance=9.0, seed=0)
    init.initialize_model(model)
    (record,) = init.report.records
    found = [record.scale, record.mean, record.second]
    np.testing.assert_allclose(found, [3.0, 0.0, 9.0])
