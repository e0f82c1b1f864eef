"""Batch entropy: the reference's figures, and an identity that reports it."""

from pathlib import Path

import keras
import numpy as np
import pytest
from keras import ops

from tests.helpers import arrays, gradients, images
from tfdeep import backend
from tfdeep.layers import BatchEntropy, batch_entropy
from tfdeep.layers.entropy import batch_entropies, collected_entropies

# Inputs, entropies and gradients from the authors' code, in float64.
GOLDEN = np.load(Path(__file__).with_name("entropy_golden.npz"))
NAMES = [name for name in GOLDEN.files if "__" not in name]


def value_and_gradient(function, x):
    """A scalar function of one array and its gradient, as arrays."""
    value, (gradient,) = backend.value_and_gradients(
        lambda tensors: function(tensors[0]), [ops.convert_to_tensor(x)]
    )
    return arrays([value, gradient])


def slow(x):
    """The formula, unit by unit."""
    n = len(x)
    total, units = 0.0, np.asarray(x, "float64").reshape(n, -1).T
    for unit in units:
        variance = sum((value - unit.mean()) ** 2 for value in unit) / (n - 1)
        total += 0.5 * np.log(np.pi * np.e * variance + 1)
    return total / len(units)


def test_there_are_nine_reference_inputs():
    assert len(NAMES) == 9


@pytest.mark.parametrize("name", NAMES)
def test_values_and_gradients_are_those_of_the_reference(name):
    x = GOLDEN[name].astype("float32")
    value, gradient = value_and_gradient(batch_entropy, x)
    # As far as inputs rounded to single precision are the same inputs.
    np.testing.assert_allclose(
        value, GOLDEN[f"{name}__entropy"], rtol=2e-6, atol=1e-6
    )
    np.testing.assert_allclose(
        gradient, GOLDEN[f"{name}__grad"], rtol=2e-4, atol=1e-6
    )


@pytest.mark.parametrize("name", NAMES)
def test_they_are_equal_in_double_precision(name, float64):
    value, gradient = value_and_gradient(batch_entropy, GOLDEN[name])
    assert value.dtype == gradient.dtype == "float64"
    np.testing.assert_allclose(
        value, GOLDEN[f"{name}__entropy"], rtol=1e-12, atol=1e-15
    )
    np.testing.assert_allclose(
        gradient, GOLDEN[f"{name}__grad"], rtol=1e-8, atol=1e-13
    )


@pytest.mark.parametrize("shape", [(5,), (4, 3), (3, 2, 5), (2, 3, 3, 2)])
def test_every_entry_of_a_sample_is_a_unit(shape):
    x = images(*shape)
    assert float(batch_entropy(x)) == pytest.approx(slow(x), rel=1e-5)


def test_a_constant_unit_has_no_entropy_and_no_gradient():
    value, gradient = value_and_gradient(
        batch_entropy, np.full((6, 3), 0.3, "float32")
    )
    assert value < 1e-12 and np.all(np.abs(gradient) < 1e-6)


def test_the_gradient_of_a_gradient_is_exact():
    """Its first derivative is written by hand."""

    def plain(x):
        deviation = x - ops.mean(x, axis=0, keepdims=True)
        variance = ops.sum(ops.square(deviation), axis=0) / (x.shape[0] - 1)
        return ops.mean(ops.log(np.pi * np.e * variance + 1)) / 2

    def second(function):
        def projected(x):
            _, (gradient,) = backend.value_and_gradients(
                lambda tensors: function(tensors[0]), [x]
            )
            return ops.sum(ops.sin(gradient) * ops.cos(x))

        return value_and_gradient(projected, images(5, 3))[1]

    np.testing.assert_allclose(
        second(batch_entropy), second(plain), rtol=1e-4, atol=1e-6
    )


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_is_computed_in_single(dtype):
    x = ops.cast(1000 * images(64, 8), dtype)
    value = batch_entropy(x)
    assert keras.backend.standardize_dtype(value.dtype) == "float32"
    seen = ops.convert_to_numpy(ops.cast(x, "float32"))
    assert float(value) == pytest.approx(slow(seen), rel=1e-5)


def test_several_tensors_in_their_order():
    shapes = [(4, 3), (4, 2, 2), (4, 3), (4, 5)]
    tensors = [images(*shape, seed=i) for i, shape in enumerate(shapes)]
    np.testing.assert_allclose(
        batch_entropies(tensors), [slow(x) for x in tensors], rtol=1e-5
    )


@pytest.mark.parametrize("shape", [(1, 4), (1,), (0, 4)])
def test_a_batch_of_one_is_refused(shape):
    with pytest.raises(ValueError, match="must be given two samples"):
        batch_entropy(np.zeros(shape, "float32"))


def test_a_scalar_is_refused():
    with pytest.raises(ValueError, match="shape .batch"):
        batch_entropy(np.float32(1.0))


@pytest.mark.tensorflow
def test_sizes_that_only_the_program_knows():
    import tensorflow as tf

    spec = tf.TensorSpec((None, 3))
    unknown = tf.function(batch_entropy, input_signature=[spec])
    x = images(5, 3)
    assert float(unknown(x)) == pytest.approx(slow(x), rel=1e-5)
    assert float(unknown(x[:1])) == 0.0


def test_the_layer_is_the_identity_and_costs_nothing():
    layer, x = BatchEntropy(), images(4, 3)
    y, dx, _ = gradients(layer, x, training=True)
    np.testing.assert_array_equal(y, x)
    np.testing.assert_array_equal(dx, gradients(keras.layers.Identity(), x)[1])
    assert not layer.weights
    assert layer(x[:1]).shape == (1, 3)  # Nobody asked for an entropy.


def test_the_layer_reports_to_whoever_collects():
    layer, x = BatchEntropy(), images(4, 3)
    with collected_entropies() as outer:
        layer(x)
        with collected_entropies() as inner:
            layer(2 * x)
            layer(3 * x)
    assert [float(h) for h in outer[layer]] == pytest.approx([slow(x)])
    expected = [slow(2 * x), slow(3 * x)]
    assert [float(h) for h in inner[layer]] == pytest.approx(expected)


def test_nothing_is_collected_after_an_error():
    layer = BatchEntropy()
    with pytest.raises(RuntimeError), collected_entropies() as found:
        raise RuntimeError
    layer(images(4, 3))
    assert not found
