"""Whether a model's gradient can itself be differentiated.

A vector-Jacobian product is linear in the vector c,

    s(c) = <u, J^T c>,    <ds / dc, c> = s(c)

whatever the function. Where a backend has no derivative of an operation's
gradient, and takes it for zero or for a constant, this does not hold.
"""

from typing import Any

import keras
import numpy as np
from keras import ops, tree

from tfdeep import backend
from tfdeep.graph.within import run_showing
from tfdeep.initializers.auto_init.tensors import concrete, is_tensor

TOLERANCE = 1e-2  # What is missing changes a term of 1 by the whole of it.
ROUNDING = (
    1e-10  # What a squared length of zero may come out as, of the largest.
)


def is_linear(function, primals, outputs) -> bool:
    """Whether the product's derivative is what linearity demands.

    Args:
        function: of `primals`, that returns a list of tensors.
        primals: list of tensors.
        outputs: what the function returns for them.
    """
    rng = np.random.default_rng(0)
    c = [
        ops.convert_to_tensor(rng.standard_normal(y.shape), y.dtype)
        for y in outputs
    ]
    _, found = backend.value_and_vjp(function, primals, c)
    lengths = [float(ops.sum(ops.square(g))) for g in found]
    least = max(max(lengths) * ROUNDING, float(np.finfo("float32").tiny))
    if not np.all(np.isfinite(lengths)) or max(lengths) < least:
        return True  # Nothing can be told; what is not finite is said later.
    # Every primal that counts contributes 1 to s.
    u = [
        g / n if n >= least else ops.zeros_like(g)
        for g, n in zip(found, lengths, strict=True)
    ]
    expected = sum(n >= least for n in lengths)

    def s(*c):
        _, found = backend.value_and_vjp(function, primals, list(c))
        return sum(ops.sum(a * b) for a, b in zip(found, u, strict=True))

    try:
        _, slopes = backend.value_and_vjp(s, c, ops.ones((), u[0].dtype))
    except LookupError:  # TensorFlow's, of a gradient without a gradient.
        return False
    actual = sum(float(ops.sum(a * b)) for a, b in zip(slopes, c, strict=True))
    return abs(actual - expected) <= TOLERANCE * expected


def check_second_derivatives(scaled: Any, batch: Any) -> None:
    """Raise if a layer's gradient has no derivative of its own.

    On TensorFlow: JAX differentiates what a gradient is made of.

    Args:
        scaled: a `ScaledLoss`.
        batch: `(x, y, sample_weight)` of arrays.

    Raises:
        ValueError: with the name of the layer.
    """
    if keras.backend.backend() != "tensorflow":
        return
    x = tree.map_structure(
        lambda a: None if a is None else ops.convert_to_tensor(a), batch[0]
    )

    def predict(*weights):
        return scaled.predict(list(weights), scaled.state, x)

    if is_linear(predict, scaled.weights, predict(*scaled.weights)):
        return
    names = _without(scaled, x)
    who = f"the layer {names[0]!r}" if names else f"{scaled.model.name!r}"
    raise ValueError(
        f"Gradients of gradients through {who} must exist. Received: "
        "operations whose gradient has no derivative on tensorflow. Use "
        "another setting of it, such as interpolation='nearest', or the JAX "
        "backend."
    )


def _without(scaled, x) -> list[str]:
    """The layers without second derivatives, inner ones before outer ones."""
    names: list[str] = []
    paused = False

    def handle(operation, call, args, kwargs):
        nonlocal paused
        y = call(*args, **kwargs)
        first = args[0] if args else None
        if paused or not is_tensor(first) or not concrete((args, kwargs)):
            return y

        def function(x):
            return list(
                filter(is_tensor, tree.flatten(call(x, *args[1:], **kwargs)))
            )

        paused = True
        try:
            outputs = list(filter(is_tensor, tree.flatten(y)))
            if outputs and not is_linear(function, [first], outputs):
                names.append(operation.name)
        finally:
            paused = False
        return y

    with scaled.values(scaled.weights, scaled.state):
        run_showing(handle, scaled.model, (x,), {"training": True})
    return names
