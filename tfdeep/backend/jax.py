"""The primitives of `tfdeep.backend` on JAX."""

import jax


def custom_vjp(forward, backward, primals, constants):
    @jax.custom_vjp
    def call(primals, constants):
        return forward(primals, constants)

    def call_forward(primals, constants):
        outputs, extras = forward(primals, constants)
        return (outputs, extras), (primals, constants, outputs)

    def call_backward(residuals, cotangents):
        primals, constants, outputs = residuals
        grads = backward(primals, constants, outputs, cotangents[0])
        return list(grads), None

    call.defvjp(call_forward, call_backward)
    return call(list(primals), list(constants))


def vjp(function, primals, cotangent):
    _, pullback = jax.vjp(function, *primals)
    return list(pullback(cotangent))


def after(tensors, event):
    *tensors, _ = jax.lax.optimization_barrier((*tensors, event))
    return tensors


def has_accelerator() -> bool:
    return jax.default_backend() != "cpu"


def runs_eagerly() -> bool:
    return False  # Gradients are always those of a traced program.
