"""A loop over stacked inputs, beside the same steps one after the other."""

import functools

import keras
import numpy as np
import pytest
from keras import ops

from tests.helpers import BACKEND, close, compiled, images
from tfdeep import backend

MODES = ["eager", "graph", "xla"] if BACKEND == "tensorflow" else ["xla"]
RECOMPUTE = [False, True, "sqrt"]


def step(carry, inputs):
    """Two carries, outputs of two dtypes, some inputs and outputs alike."""
    h, count = carry
    w, b, number, scale = inputs
    h = ops.tanh(ops.matmul(h, w) + b) * scale
    outputs = [ops.sum(h, axis=0), number * 2, ops.max(h * b, axis=0)]
    return [h, count + number], outputs


def one_by_one(step, carry, inputs, reverse=False, **kwargs):
    outputs = []
    order = range(inputs[0].shape[0])
    for i in reversed(order) if reverse else order:
        carry, values = step(carry, [x[i] for x in inputs])
        outputs.append(values)
    if reverse:
        outputs.reverse()
    return carry, [ops.stack(values) for values in zip(*outputs, strict=True)]


def data(count):
    return (
        images(2, 3),
        images(count, 3, 3, seed=1),
        images(count, 3, seed=2),
        images(count, 3, seed=3),
    )


def scanned(scan, count, **settings):
    """A function of the data: all results, and gradients of a scalar of them.

    By all float inputs, of all float results.
    """

    def scalar(primals):
        h, w, b, scale = primals
        number = ops.arange(count, dtype="int32")
        start = [h, ops.convert_to_tensor(np.int32(7))]
        carry, outputs = scan(step, start, [w, b, number, scale], **settings)
        sums, _, peaks = outputs
        value = ops.sum(ops.square(carry[0])) + ops.sum(ops.sin(sums) * peaks)
        return value, (carry, outputs)

    def call(*primals):
        _, found, grads = backend.gradients_with_aux(scalar, list(primals))
        return found, grads

    return call


def twice(scan, count, **settings):
    """The gradients of the gradients' squares."""
    inner = scanned(scan, count, **settings)

    def norm(primals):
        return sum(ops.sum(ops.square(g)) for g in inner(*primals)[1])

    return lambda *primals: backend.value_and_gradients(norm, list(primals))


@functools.cache
def expected(order, count, reverse):
    """The same, by the steps one after the other."""
    function = order(one_by_one, count, reverse=reverse)
    return compiled(function, MODES[0])(*data(count))


def check(order, mode, recompute, reverse, count):
    settings = {"reverse": reverse, "recompute": recompute}
    ours = compiled(order(backend.scan, count, **settings), mode)(*data(count))
    theirs = expected(order, count, reverse)
    assert all(np.any(value) for value in theirs)
    close(ours, theirs, 1e-4, 1e-5)
    return ours


@pytest.mark.parametrize("recompute", RECOMPUTE)
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("count", [2, 5])
def test_values_and_gradients_are_those_of_the_steps(recompute, reverse, count):
    ours = check(scanned, MODES[0], recompute, reverse, count)
    # The carry of integers has added up, and the outputs are in order.
    assert ours[1] == 7 + sum(range(count))
    assert ours[3].tolist() == [2 * i for i in range(count)]


@pytest.mark.slow
@pytest.mark.tensorflow
@pytest.mark.parametrize(
    "mode, recompute, reverse",
    [
        ("graph", False, False),
        ("graph", True, True),
        ("graph", "sqrt", True),
        ("xla", False, True),
        ("xla", True, False),
        ("xla", "sqrt", False),
    ],
)
def test_a_compiled_loop_does_the_same(mode, recompute, reverse):
    check(scanned, mode, recompute, reverse, 5)


@pytest.mark.parametrize("recompute", RECOMPUTE)
def test_a_single_step_is_a_loop_too(recompute):
    """Of which the first entry may be all zeros."""
    settings = {"reverse": True, "recompute": recompute}
    found = [
        compiled(scanned(scan, 1, **more), MODES[-1])(*data(1))
        for scan, more in ((backend.scan, settings), (one_by_one, {}))
    ]
    close(*found, 1e-4, 1e-5)


TWICE = [(MODES[0], recompute) for recompute in RECOMPUTE]
if BACKEND == "tensorflow":
    TWICE += [("graph", False), ("xla", True), ("xla", "sqrt")]


@pytest.mark.slow
@pytest.mark.parametrize("mode, recompute", TWICE)
def test_gradients_of_gradients_are_those_of_the_steps(mode, recompute):
    check(twice, mode, recompute, True, 4)


def test_a_backward_pass_of_its_own():
    """A loop whose gradient is another loop, in the other direction."""

    def forward(primals, constants):
        x, factors = primals
        (y,), _ = backend.scan(
            lambda carry, inputs: ([carry[0] * inputs[0]], []), [x], [factors]
        )
        return [y], [], [y]

    def backward(primals, constants, kept, cotangents):
        _, factors = primals

        def inverse(carry, inputs):
            y, dy = carry
            x = y / inputs[0]
            return [x, dy * inputs[0]], [ops.sum(dy * x)]

        (_, dx), (by_factors,) = backend.scan(
            inverse, [*kept, *cotangents], [factors], reverse=True
        )
        return [dx, by_factors]

    def scalar(primals):
        (y,), _ = backend.custom_vjp(forward, backward, primals, [])
        return ops.sum(y)

    x, factors = images(4), images(6, seed=1)
    run = compiled(
        lambda *p: backend.value_and_gradients(scalar, list(p)), MODES[-1]
    )
    value, by_x, by_factors = run(x, factors)
    product = np.prod(factors)
    np.testing.assert_allclose(value, np.sum(x * product), 1e-5)
    np.testing.assert_allclose(by_x, np.full(4, product), 1e-4)
    np.testing.assert_allclose(by_factors, np.sum(x) * product / factors, 1e-4)


@pytest.mark.parametrize("recompute", [None, "log", 2])
def test_another_way_to_recompute_is_refused(recompute):
    with pytest.raises(ValueError, match="Received: recompute="):
        backend.scan(step, [], [ops.ones(3)], recompute=recompute)


def test_another_backend_is_named(monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "torch")
    with pytest.raises(NotImplementedError, match="`scan`.*torch"):
        backend.scan(step, [], [ops.ones(3)])
