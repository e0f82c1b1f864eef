"""Convolutions in loops and branches, in the layout of XLA's CPU routine.

The gradients of a convolution are convolutions of other layouts. XLA on a CPU
transposes them for its fast routine, but only in a program's outermost part:
in the body of a loop or a branch of a condition they run by a slow one, 13
times as long for a net of 3x3 convolutions. Here a function is traced, and
evaluated again with the transpositions written out, in its gradients as well.
The values are the same to the last bit. A GPU needs none of this.

Only derivatives in reverse mode pass such a convolution, of any order.
"""

import functools

import jax
from jax import lax
from jax.extend.core import Literal
from jax.extend.core.primitives import conv_general_dilated_p

CALLS = ("jit", "pjit", "closed_call")


def in_plain_layout(function):
    """The function of trees of tensors, with its convolutions rewritten."""

    def call(*arguments):
        traced, results = jax.make_jaxpr(function, return_shape=True)(
            *arguments
        )
        values = evaluate(traced, *jax.tree.leaves(arguments))
        return jax.tree.unflatten(jax.tree.structure(results), values)

    return call


def evaluate(traced, *arguments) -> list:
    """The results of a traced function, its convolutions in plain layout."""
    program = traced.jaxpr
    values = dict(zip(program.constvars, traced.consts, strict=True))
    values.update(zip(program.invars, arguments, strict=True))

    def read(variable):
        if isinstance(variable, Literal):
            return variable.val
        return values[variable]

    for equation in program.eqns:
        results = _evaluate(equation, *map(read, equation.invars))
        values.update(zip(equation.outvars, results, strict=True))
    return [read(variable) for variable in program.outvars]


def _evaluate(equation, *inputs) -> list:
    """The results of one operation; calls and branches are looked into."""
    name, parameters = equation.primitive.name, equation.params
    if equation.primitive is conv_general_dilated_p:
        return [convolution(parameters)(*inputs)]
    if name in CALLS:
        traced = parameters.get("jaxpr") or parameters["call_jaxpr"]
        return evaluate(traced, *inputs)
    if name == "cond":
        branches = [
            functools.partial(evaluate, branch)
            for branch in parameters["branches"]
        ]
        return lax.switch(inputs[0], branches, *inputs[1:])
    found = equation.primitive.get_bind_params(parameters)
    # JAX 0.7 returns the functions within apart, 0.10 among the parameters.
    functions, parameters = found if isinstance(found, tuple) else ([], found)
    results = equation.primitive.bind(*functions, *inputs, **parameters)
    return results if equation.primitive.multiple_results else [results]


def convolution(parameters):
    """A convolution of two tensors, in plain layout, and so its gradients."""

    @jax.custom_vjp
    def convolve(x, kernel):
        return plain_convolution(x, kernel, **parameters)

    def forward(x, kernel):
        return convolve(x, kernel), (x, kernel)

    def backward(inputs, cotangent):
        given = functools.partial(conv_general_dilated_p.bind, **parameters)
        _, pullback = jax.vjp(given, *inputs)
        return in_plain_layout(pullback)(cotangent)

    convolve.defvjp(forward, backward)
    return convolve


def plain_convolution(x, kernel, *, dimension_numbers, **parameters):
    """A convolution of any layout, by one of (batch, *space, channels)."""
    rank = x.ndim
    of_x, of_kernel, of_y = dimension_numbers
    batch, channels, *space = of_x
    x = lax.transpose(x, (batch, *space, channels))
    outputs, inputs, *space = of_kernel
    kernel = lax.transpose(kernel, (*space, inputs, outputs))
    # The specification of a layout: batch or outputs, channels, space.
    positions = tuple(range(1, rank - 1))
    last = (0, rank - 1, *positions)
    kernel_last = (rank - 1, rank - 2, *range(rank - 2))
    y = conv_general_dilated_p.bind(
        x,
        kernel,
        dimension_numbers=lax.ConvDimensionNumbers(last, kernel_last, last),
        **parameters,
    )
    order = dict(zip(of_y, last, strict=True))
    return lax.transpose(y, [order[axis] for axis in range(rank)])
