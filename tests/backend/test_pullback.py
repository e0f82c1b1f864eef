"""Gradients of gradients, and gradients that wait until they are asked for."""

import keras
import numpy as np
import pytest
from keras import ops

from tests.helpers import arrays, images
from tfdeep import backend


def cubes(primals):
    a, b = primals
    return ops.sum(a * a * a * b)


def test_value_and_gradients():
    a, b = images(3), images(3, seed=1)
    tensors = [ops.convert_to_tensor(t) for t in (a, b)]
    value, grads = backend.value_and_gradients(cubes, tensors)
    by_a, by_b = arrays(grads)
    np.testing.assert_allclose(arrays([value])[0], np.sum(a**3 * b), rtol=1e-5)
    np.testing.assert_allclose(by_a, 3 * a**2 * b, rtol=1e-5)
    np.testing.assert_allclose(by_b, a**3, rtol=1e-5)


def test_a_gradient_is_zero_where_nothing_depends_on_it():
    tensors = [ops.convert_to_tensor(images(3)) for _ in range(2)]
    _, grads = backend.value_and_gradients(lambda p: ops.sum(p[0]), tensors)
    assert not np.any(arrays(grads)[1])


def test_the_gradient_of_a_lookup_is_dense():
    table = ops.convert_to_tensor(images(4, 2))
    _, (grad,) = backend.value_and_gradients(
        lambda p: ops.sum(ops.take(p[0], [1, 1, 3], axis=0)), [table]
    )
    assert np.asarray(grad)[:, 0].tolist() == [0.0, 2.0, 0.0, 1.0]


def test_pullback_of_a_gradient_and_of_one_more():
    traced = []

    def function(primals, constants):
        traced.append(1)
        (x,) = constants

        def gradient_at(p):
            return backend.value_and_gradients(
                lambda q: ops.sum(q[0] ** 4 * x), p
            )[1][0]

        _, (second,) = backend.value_and_gradients(
            lambda p: ops.sum(gradient_at(p)), [primals]
        )
        return ops.sum(second), {"gradient": gradient_at([primals])}

    a, x = images(3), images(3, seed=1)
    run = backend.compiled_pullback(function)
    for factor in (1.0, 2.0):
        scaled = (a * factor).astype("float32")
        value, extras, pullback = run(
            ops.convert_to_tensor(scaled), [ops.convert_to_tensor(x)]
        )
        np.testing.assert_allclose(
            float(value), np.sum(12 * scaled**2 * x), rtol=1e-4
        )
        np.testing.assert_allclose(
            arrays([extras["gradient"]])[0], 4 * scaled**3 * x, rtol=1e-4
        )
        np.testing.assert_allclose(
            arrays([pullback()])[0], 24 * scaled * x, rtol=1e-4
        )
    # Traced for the program and once more, at most, for its gradient.
    assert len(traced) <= 2


@pytest.mark.parametrize(
    "primitive,arguments",
    [("value_and_gradients", (None, [])), ("compiled_pullback", (None,))],
)
def test_another_backend_is_named(monkeypatch, primitive, arguments):
    monkeypatch.setattr(keras.backend, "backend", lambda: "torch")
    with pytest.raises(NotImplementedError, match=f"`{primitive}`.*torch"):
        getattr(backend, primitive)(*arguments)
