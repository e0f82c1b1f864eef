"""Gradients ahead of time: their values, and what they leave alone."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from tests.helpers import arrays, reference_gradients
from tfdeep import backend

X = np.random.default_rng(0).normal(size=(4, 3)).astype("float32")


class Twice(layers.Layer):
    """y = tanh(W x), then W y; counts its calls in a weight."""

    def build(self, input_shape):
        self.kernel = self.add_weight(
            shape=(3, 3), initializer=keras.initializers.GlorotUniform(0)
        )
        self.calls = self.add_weight(initializer="zeros", trainable=False)

    def call(self, x):
        self.calls.assign_add(1.0)
        y = ops.tanh(ops.matmul(x, self.kernel))
        return [y, ops.matmul(y, self.kernel)]


def slow(kernel, x):
    y = np.tanh(x @ kernel)
    return y, y @ kernel


@pytest.fixture
def layer():
    found = Twice()
    found.build((None, 3))
    return found


def test_each_selection_has_its_own_gradient(layer):
    _, (first, both) = backend.pullbacks(
        layer, lambda p: layer(*p), [ops.convert_to_tensor(X)], [[0], [0, 1]]
    )
    kernel = arrays([layer.kernel])[0]
    y, z = slow(kernel, X)
    one, other = np.ones_like(y), np.full_like(z, 0.5)
    slope = 1 - y**2
    expected = (one * slope) @ kernel.T
    (gradient,) = arrays(first([ops.convert_to_tensor(one)]))
    np.testing.assert_allclose(gradient, expected, 1e-5, 1e-6)
    more = ((one + other @ kernel.T) * slope) @ kernel.T
    (gradient,) = arrays(both([ops.convert_to_tensor(c) for c in (one, other)]))
    np.testing.assert_allclose(gradient, more, 1e-5, 1e-6)


def test_state_moves_once(layer):
    backend.pullbacks(
        layer, lambda p: layer(*p), [ops.convert_to_tensor(X)], [[0], [1]]
    )
    assert float(arrays([layer.calls])[0]) == 1.0


def test_the_outputs_are_differentiated_as_usual(layer):
    """The gradient ahead of time is a constant in the outer one."""

    def plain(x):
        return ops.add(*layer(x))

    def pulled(x):
        (y, z), (pull,) = backend.pullbacks(
            layer, lambda p: layer(*p), [x], [[1]]
        )
        (gradient,) = pull([ops.ones_like(z)])
        return y + z + ops.sum(gradient) - ops.stop_gradient(ops.sum(gradient))

    def apart(function):
        """The function, with a state that leaks no tracer."""

        def run(x):
            with keras.StatelessScope([(layer.calls, layer.calls.value)]):
                return function(x)

        return run

    (y, gradient), (z, ours) = (
        reference_gradients(apart(function), X) for function in (plain, pulled)
    )
    np.testing.assert_allclose(y, z, 1e-5, 1e-6)
    np.testing.assert_allclose(ours[0], gradient[0], 1e-5, 1e-6)


def test_what_is_unconnected_has_a_gradient_of_zero(layer):
    x = ops.convert_to_tensor(X)
    _, (pull,) = backend.pullbacks(
        layer, lambda p: [p[0] * 2.0], [x, x * 1.0], [[0]]
    )
    one, other = arrays(pull([ops.ones_like(x)]))
    assert (one == 2).all() and (other == 0).all()
