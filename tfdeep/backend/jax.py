"""The primitives of `tfdeep.backend` on JAX."""

import math

import jax
import keras
import numpy as np

from tfdeep.backend.jax_convolution import in_plain_layout
from tfdeep.backend.stateless import read_variables, state_of

# Of what is drawn at once: 4,096 to about a million normal values.
LENGTHS = tuple(4**power for power in range(6, 11))

# What XLA compiles for a CPU in a tenth of the time, and slow to run.
QUICKLY = {
    "xla_backend_optimization_level": 0,
    "xla_cpu_parallel_codegen_split_count": 1,
    "xla_cpu_use_fusion_emitters": False,
}

# Operations that take less time than their results take to be kept;
# activations are functions with a derivative of their own.
CHEAP = frozenset(
    "abs add add_any and broadcast_in_dim convert_element_type copy "
    "custom_jvp_call div eq expand_dims ge gt integer_pow le lt max min mul "
    "ne neg not or pad reshape rsqrt select_n sign slice sqrt square squeeze "
    "sub transpose".split()
)


def custom_vjp(forward, backward, primals, constants):
    @jax.custom_vjp
    def call(primals, constants):
        return forward(primals, constants)[:2]

    def call_forward(primals, constants):
        outputs, extras, kept = forward(primals, constants)
        return (outputs, extras), (primals, constants, kept)

    def call_backward(residuals, cotangents):
        primals, constants, kept = residuals
        grads = backward(primals, constants, kept, cotangents[0])
        return list(grads), None

    call.defvjp(call_forward, call_backward)
    return call(list(primals), list(constants))


def value_and_vjp(function, primals, cotangent):
    value, pullback = jax.vjp(function, *primals)
    return value, list(pullback(cotangent))


def after(tensors, events):
    ordered = jax.lax.optimization_barrier((*tensors, *events))
    return list(ordered[: len(tensors)])


def once_known(tensor, event):
    # A barrier does not survive XLA's scheduling on a CPU; a value does. XLA
    # cannot tell that it is 0, also where the event is no number.
    zero = jax.numpy.where(event < 0, event, 0).astype(tensor.dtype)
    return tensor + zero.reshape(-1, *(1,) * (tensor.ndim - 1))


def has_accelerator() -> bool:
    return jax.default_backend() != "cpu"


def at_once(function, *arguments):
    # Operation by operation, each would be compiled.
    traced = jax.jit(function).lower(*arguments)
    if has_accelerator():
        return traced.compile()(*arguments)
    try:
        return traced.compile(compiler_options=QUICKLY)(*arguments)
    except jax.errors.JaxRuntimeError:  # Another version has other options.
        return traced.compile()(*arguments)


def outside_of_traces():
    return jax.ensure_compile_time_eval()


def has_float64() -> bool:
    return bool(jax.numpy.array(0.0).dtype == "float64")


def as_body(function):
    return function if has_accelerator() else in_plain_layout(function)


def as_branch(function):
    # Of what the backward pass reads of a branch, one that does not run makes
    # zeros. What is cheap is computed again instead. Forward and backward are
    # two conditionals: nothing can be merged.
    return jax.checkpoint(as_body(function), prevent_cse=False, policy=_is_dear)


def _is_dear(operation, *_, **__):
    """Whether the backward pass keeps the results of an operation."""
    return operation.name not in CHEAP


def as_written(function):
    return function


def runs_eagerly() -> bool:
    return False  # Gradients are always those of a traced program.


def process_count() -> int:
    return jax.process_count()


def process_index() -> int:
    return jax.process_index()


def of_first_process(array, variable=None):
    # Where few programs need it, it is no part of `jax` itself.
    from jax.experimental import multihost_utils

    return np.asarray(multihost_utils.broadcast_one_to_all(array))


def any_process(flag):
    from jax.experimental import multihost_utils

    return bool(np.any(multihost_utils.process_allgather(np.array(flag))))


def replica_count() -> int:
    return 1


def is_concrete(tensor) -> bool:
    return not isinstance(tensor, jax.core.Tracer)


def value_and_gradients(function, primals):
    return jax.value_and_grad(function)(list(primals))


def gradients_with_aux(function, primals):
    (value, aux), grads = jax.value_and_grad(function, has_aux=True)(
        list(primals)
    )
    return value, aux, grads


def tapped_gradients(function):
    found = []

    def record(tensor):
        found.append(jax.ShapeDtypeStruct(tensor.shape, tensor.dtype))
        return tensor

    jax.eval_shape(lambda: function(record))
    zeros = [jax.numpy.zeros(each.shape, each.dtype) for each in found]

    def shifted(zeros):
        waiting = iter(zeros)
        return function(lambda tensor: tensor + next(waiting))

    return gradients_with_aux(shifted, zeros)


def normal(shape, deviation, seed, dtype):
    # XLA takes up to a second for each new shape. Entry i depends on the seed
    # and on i alone: a tensor is the beginning of a longer one, of one of few
    # lengths, and is cut out without a program. The largest get their own.
    size = math.prod(shape)
    length = next((length for length in LENGTHS if length >= size), size)
    values = keras.random.normal((length,), seed=seed, dtype=dtype)
    if is_concrete(values):
        values = np.asarray(values)
    values = values[:size].reshape(shape) * values.dtype.type(deviation)
    return jax.device_put(values)  # `asarray` compiles a program per shape.


def draws(initializer, seeds, shape, dtype):
    # One after the other: each takes a millisecond. One program for all would
    # be compiled for each shape, in more time than a hundred copies take.
    config = initializer.get_config()
    values = [
        type(initializer).from_config({**config, "seed": seed})(
            shape, dtype=dtype
        )
        for seed in seeds
    ]
    if is_concrete(values[0]):  # Nor is the stacking compiled.
        return jax.device_put(np.stack(values))
    return jax.numpy.stack(values)


def sum_over_replicas(tensors):
    return tensors


def on_first_replica(tensor):
    return tensor


def compiled_pullback(function):
    @jax.jit
    def forward(primals, constants):
        # What the pullback keeps are arrays: it may leave the program.
        value, pullback, extras = jax.vjp(
            lambda primals: function(primals, constants), primals, has_aux=True
        )
        return value, extras, pullback

    @jax.jit
    def backward(pullback, value):
        return pullback(jax.numpy.ones_like(value))[0]

    def run(primals, constants):
        value, extras, pullback = forward(primals, constants)
        return value, extras, lambda: backward(pullback, value)

    return run


def scan(function, carry, inputs, reverse, recompute):
    @as_body
    def step(carry, inputs):
        return function(list(carry), list(inputs))

    if recompute:
        # Forward and backward are two loops: nothing can be merged.
        step = jax.checkpoint(step, prevent_cse=False)
    return jax.lax.scan(step, carry, inputs, reverse=reverse)


def pullbacks(layer, function, primals, selections):
    # Differentiated a second time on its own: an outer gradient through
    # `jax.vjp` would not see the backward pass of a `custom_vjp`. XLA merges
    # the two forward passes, which are equal operation by operation.
    trainable, state = jax.lax.stop_gradient(read_variables(layer))
    mapping = [
        *zip(layer.trainable_variables, trainable, strict=True),
        *zip(state_of(layer), state, strict=True),
    ]
    outputs = function(primals)

    def prepared(selection):
        def again(primals):
            with keras.StatelessScope(mapping, collect_losses=True):
                found = function(primals)
            return [found[index] for index in selection]

        _, pull = jax.vjp(again, jax.lax.stop_gradient(primals))
        return lambda cotangents: jax.lax.stop_gradient(
            pull(list(cotangents))[0]
        )

    return outputs, [prepared(selection) for selection in selections]
