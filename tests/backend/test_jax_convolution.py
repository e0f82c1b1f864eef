"""Convolutions in loops and branches on JAX: laid out anew, the same values."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from tests.helpers import arrays, images

pytestmark = pytest.mark.jax

CONVOLUTIONS = {
    "3x3": lambda: layers.Conv2D(4, 3, padding="same"),
    "1x1": lambda: layers.Conv2D(4, 1),
    "strides": lambda: layers.Conv2D(6, 3, 2, "same"),
    "valid": lambda: layers.Conv2D(2, (3, 2)),
    "dilation": lambda: layers.Conv2D(4, 3, padding="same", dilation_rate=2),
    "groups": lambda: layers.Conv2D(8, 3, padding="same", groups=2),
    "depthwise": lambda: layers.DepthwiseConv2D(3, padding="same"),
    "transpose": lambda: layers.Conv2DTranspose(4, 3, 2, "same"),
    "channels first": lambda: layers.Conv2D(
        4, 3, padding="same", data_format="channels_first"
    ),
}
INPUTS = {"channels first": (2, 4, 8, 8)}


def gradients(function, *inputs):
    """Value, gradients, and the gradients of the gradients' squares."""
    import jax

    def scalar(*inputs):
        return ops.sum(ops.sin(function(*inputs)))

    every = tuple(range(len(inputs)))

    def squares(*inputs):
        grads = jax.grad(scalar, every)(*inputs)
        return sum(ops.sum(ops.square(grad)) for grad in grads)

    return arrays(
        [
            function(*inputs),
            *jax.jit(jax.grad(scalar, every))(*inputs),
            *jax.jit(jax.grad(squares, every))(*inputs),
        ]
    )


def of(layer, x):
    """The layer as a function of its input and kernel, and both."""
    layer.build(x.shape)
    kernel, bias = layer.trainable_weights

    def call(x, kernel):
        return layer.stateless_call([kernel, bias.value], [], x)[0]

    return call, (ops.convert_to_tensor(x), kernel.value)


@pytest.mark.parametrize("kind", CONVOLUTIONS)
def test_values_and_gradients_stay(kind):
    from tfdeep.backend.jax_convolution import in_plain_layout

    x = images(*INPUTS.get(kind, (2, 8, 8, 4)))
    call, inputs = of(CONVOLUTIONS[kind](), x)
    ours = gradients(in_plain_layout(call), *inputs)
    for one, other in zip(ours, gradients(call, *inputs), strict=True):
        assert np.any(other)
        bound = 1e-6 * np.abs(other).max()
        np.testing.assert_allclose(one, other, rtol=0, atol=bound)


@pytest.mark.parametrize("dimensions", [1, 3])
def test_other_numbers_of_dimensions(dimensions):
    from tfdeep.backend.jax_convolution import in_plain_layout

    kind = {1: layers.Conv1D, 3: layers.Conv3D}[dimensions]
    x = images(2, *[5] * dimensions, 3)
    call, inputs = of(kind(4, 3, padding="same"), x)
    ours = gradients(in_plain_layout(call), *inputs)
    for one, other in zip(ours, gradients(call, *inputs), strict=True):
        np.testing.assert_allclose(one, other, 1e-4, 1e-4)


def layouts(program: str) -> set:
    """The layouts of a compiled program's convolutions."""
    return {
        line.split("dim_labels=")[1].split(",")[0].split()[0]
        for line in program.splitlines()
        if " convolution(" in line
    }


def in_loop(x, kernels):
    import jax

    from tfdeep.backend.jax import as_body

    def step(carry, kernel):
        y = jax.nn.relu(ops.conv(carry, kernel, padding="same"))
        return jax.lax.cond(y[0, 0, 0, 0] > 9.0, lambda: carry, lambda: y), 0

    return jax.lax.scan(as_body(step), x, kernels)[0]


def in_branch(x, kernels):
    import jax

    from tfdeep.backend.jax import as_body

    def branch():
        return jax.jit(ops.conv, static_argnames="padding")(
            x, kernels[0], padding="same"
        )

    return jax.lax.cond(x[0, 0, 0, 0] > 9.0, lambda: x, as_body(branch))


@pytest.mark.parametrize("function", [in_loop, in_branch])
def test_all_layouts_are_those_of_the_fast_routine(function):
    import jax

    def loss(x, kernels):
        return ops.sum(ops.square(function(x, kernels)))

    x, kernels = images(2, 8, 8, 4), images(3, 3, 3, 4, 4, seed=1)
    compiled = jax.jit(jax.grad(loss, (0, 1))).lower(x, kernels).compile()
    assert layouts(compiled.as_text()) == {"b01f_01io->b01f"}


def test_on_an_accelerator_nothing_is_rewritten(monkeypatch):
    from tfdeep.backend import jax

    monkeypatch.setattr(jax, "has_accelerator", lambda: True)
    assert jax.as_body(ops.sin) is ops.sin


def test_calls_with_gradients_of_their_own_keep_them():
    import jax

    from tfdeep.backend.jax_convolution import in_plain_layout

    @jax.custom_vjp
    def twice(x):
        return 2.0 * x

    twice.defvjp(lambda x: (twice(x), None), lambda _, dy: (7.0 * dy,))

    def function(x):
        return {"y": [ops.sum(jax.nn.relu(twice(x)))]}

    rewritten = in_plain_layout(function)
    grad = jax.grad(lambda x: rewritten(x)["y"][0])(np.float32(3.0))
    assert float(grad) == 7.0
    assert keras.tree.flatten(rewritten(np.float32(3.0))) == [6.0]
