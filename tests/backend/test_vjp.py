"""Calls with their own backward pass."""

import keras
import numpy as np
import pytest
from keras import ops

from tests.helpers import arrays, images, reference_gradients
from tfdeep import backend


def call(weight, x, constant, backward):
    def forward(primals, constants):
        weight, x = primals
        y = weight * x + constants[0]
        return [y], [constants[1] + 1], [y]

    outputs, extras = backend.custom_vjp(
        forward, backward, [weight, x], [constant, ops.convert_to_tensor(3)]
    )
    return outputs, extras


def exact(primals, constants, kept, cotangents):
    weight, x = primals
    return [cotangents[0] * x, cotangents[0] * weight]


class TestCustomVjp:
    def test_outputs_and_extras(self):
        weight, x, constant = images(4), images(4, seed=1), images(4, seed=2)
        tensors = [ops.convert_to_tensor(t) for t in (weight, x, constant)]
        (y,), (extra,) = call(*tensors, exact)
        np.testing.assert_allclose(
            arrays([y])[0], weight * x + constant, rtol=1e-6
        )
        # The extras keep their own, here an integer, type.
        assert int(arrays([extra])[0]) == 4

    def test_equals_automatic_differentiation(self):
        values = images(4), images(4, seed=1)
        constant = ops.convert_to_tensor(images(4, seed=2))
        _, ours = reference_gradients(
            lambda w, x: call(w, x, constant, exact)[0][0], *values
        )
        _, theirs = reference_gradients(lambda w, x: w * x + constant, *values)
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-6)

    def test_the_given_backward_pass_is_the_one_that_runs(self):
        def strange(primals, constants, kept, cotangents):
            assert len(primals) == len(constants) == 2
            assert len(kept) == len(cotangents) == 1
            return [kept[0], constants[0] * 10.0]

        weight, x, constant = images(4), images(4, seed=1), images(4, seed=2)
        y, (by_weight, by_x) = reference_gradients(
            lambda w, x: call(w, x, ops.convert_to_tensor(constant), strange)[
                0
            ][0],
            weight,
            x,
        )
        np.testing.assert_allclose(by_weight, y, rtol=1e-6)
        np.testing.assert_allclose(by_x, 10 * constant, rtol=1e-6)


def test_vjp_is_the_gradient_of_the_weighted_sum():
    a, b, cotangent = images(3), images(3, seed=1), images(3, seed=2)
    tensors = [ops.convert_to_tensor(t) for t in (a, b)]
    grads = backend.vjp(
        lambda a, b: a * a * b, tensors, ops.convert_to_tensor(cotangent)
    )
    by_a, by_b = arrays(grads)
    np.testing.assert_allclose(by_a, 2 * a * b * cotangent, rtol=1e-5)
    np.testing.assert_allclose(by_b, a * a * cotangent, rtol=1e-5)


def test_vjp_is_zero_for_a_value_that_does_not_count():
    tensors = [ops.convert_to_tensor(images(3)) for _ in range(2)]
    _, unused = backend.vjp(lambda a, b: a * 2.0, tensors, ops.ones(3))
    assert not np.any(arrays([unused])[0])


@pytest.mark.parametrize("event", [[], [0.0], [-3.0, 1.0], [np.inf]])
def test_after_returns_its_tensors_and_weights(event):
    tensors, weights = (
        [ops.convert_to_tensor(images(3, seed=s)) for s in seeds]
        for seeds in ((0, 1), (2, 3, 4))
    )
    result = backend.after(np.array(event, "float32"), tensors, weights)
    for ours, theirs in zip(result, (tensors, weights), strict=True):
        np.testing.assert_array_equal(arrays(ours), arrays(theirs))


def test_has_accelerator_is_a_boolean():
    assert isinstance(backend.has_accelerator(), bool)


@pytest.mark.parametrize(
    "primitive,arguments",
    [
        ("custom_vjp", (None, None, [], [])),
        ("vjp", (None, [], None)),
        ("after", (None, [], [])),
    ],
)
def test_another_backend_is_named(monkeypatch, primitive, arguments):
    monkeypatch.setattr(keras.backend, "backend", lambda: "torch")
    message = f"`{primitive}` was called on the torch backend.*tensorflow.*jax"
    with pytest.raises(NotImplementedError, match=message):
        getattr(backend, primitive)(*arguments)


def test_another_backend_gets_the_native_operations(monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "torch")
    assert backend.has_accelerator()
