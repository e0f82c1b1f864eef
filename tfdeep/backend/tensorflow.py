"""The primitives of `tfdeep.backend` on TensorFlow."""

from functools import partial

import keras
import numpy as np
import tensorflow as tf

from tfdeep.backend.tensorflow_scan import (
    check_no_variables,
    scan,
)

__all__ = [
    "after",
    "any_process",
    "as_branch",
    "as_step",
    "as_written",
    "compiled_pullback",
    "custom_vjp",
    "draws",
    "gradients_with_aux",
    "has_accelerator",
    "has_float64",
    "is_concrete",
    "maps_safely",
    "of_first_process",
    "on_first_replica",
    "outside_of_traces",
    "process_count",
    "process_index",
    "pullbacks",
    "require",
    "runs_eagerly",
    "scan",
    "sum_over_replicas",
    "tapped_gradients",
    "value_and_gradients",
    "value_and_vjp",
    "within_strategy",
]

# Mapped over as one program, of an operand that is the same for all elements,
# products write past their memory (TensorFlow 2.21, on a CPU). What one element
# may do and another not cannot be one program.
UNSAFE = (
    *("BatchMatMul", "BatchMatMulV2", "BatchMatMulV3", "Einsum"),
    *("Case", "If", "StatelessCase", "StatelessIf"),
)
# The tasks of a cluster that train.
WORKERS = ("chief", "worker")


def custom_vjp(forward, backward, primals, constants):
    # Variables would be read again in the backward pass, after assignments.
    tensors = [tf.convert_to_tensor(value) for value in (*primals, *constants)]
    count = len(primals)
    sizes = []

    @tf.custom_gradient
    def call(*tensors):
        primals, constants = list(tensors[:count]), list(tensors[count:])
        outputs, extras, kept = forward(primals, constants)
        sizes.append(len(outputs))

        def gradient(*cotangents, variables=None):
            check_no_variables(variables)
            grads = backward(
                primals, constants, kept, list(cotangents[: len(outputs)])
            )
            return [*grads, *[None] * len(constants)]

        return [*outputs, *extras], gradient

    results = call(*tensors)
    return results[: sizes[-1]], results[sizes[-1] :]


def value_and_vjp(function, primals, cotangent):
    with tf.GradientTape() as tape:
        tape.watch(primals)
        outputs = function(*primals)
    grads = tape.gradient(
        outputs,
        primals,
        output_gradients=cotangent,
        unconnected_gradients=tf.UnconnectedGradients.ZERO,
    )
    return outputs, [tf.convert_to_tensor(grad) for grad in grads]


def after(tensors, events):
    with tf.control_dependencies(events):
        return [tf.identity(tensor) for tensor in tensors]


def once_known(tensor, event):
    return tensor


def has_accelerator() -> bool:
    devices = tf.config.list_logical_devices()
    return any(device.device_type in ("GPU", "TPU") for device in devices)


def outside_of_traces():
    return tf.init_scope()


def has_float64() -> bool:
    return True


@tf.RegisterGradient("TransposeOfKnownOrder")
def _transpose_gradient(op, gradient):
    order = tf.get_static_value(op.inputs[1])
    if order is None:
        order = tf.math.invert_permutation(op.inputs[1])
    else:
        order = np.argsort(order)
    return tf.transpose(gradient, order), None


def as_step(function):
    # Of a batch of unknown size, a product of tensors computes the order of
    # its axes, from constants. Its gradient takes that order out of the loop,
    # as something that XLA cannot know. Here it is a constant.
    def step(*arguments):
        if tf.executing_eagerly():
            return function(*arguments)
        graph = tf.compat.v1.get_default_graph()
        with graph.gradient_override_map(
            {"Transpose": "TransposeOfKnownOrder"}
        ):
            return function(*arguments)

    return step


as_branch = as_step


def as_written(function):
    return tf.autograph.experimental.do_not_convert(function)


def require(condition, message, *values):
    tf.debugging.Assert(condition, [message, *values])


def maps_safely(function, elements) -> bool:
    first = tf.nest.map_structure(lambda t: t[0], elements)
    traced = tf.function(function, autograph=False).get_concrete_function(first)
    graph = traced.graph.as_graph_def()
    nodes = [
        *graph.node,
        *(n for f in graph.library.function for n in f.node_def),
    ]
    return all(node.op not in UNSAFE for node in nodes)


def runs_eagerly() -> bool:
    return tf.executing_eagerly()


def replica_count() -> int:
    return tf.distribute.get_strategy().num_replicas_in_sync


def _resolver():
    """What knows the processes: of the strategy in use, or of TF_CONFIG."""
    strategy = tf.distribute.get_strategy()
    found = getattr(strategy, "cluster_resolver", None)
    return found or tf.distribute.cluster_resolver.TFConfigClusterResolver()


def process_count() -> int:
    workers = _resolver().cluster_spec().as_dict()
    return max(1, sum(len(workers.get(kind, ())) for kind in WORKERS))


def process_index() -> int:
    return _resolver().task_id or 0


def of_first_process(array, variable=None):
    # The sum over replicas, where all but the first give 0.
    if variable is not None and not tf.distribute.has_strategy():
        strategy = getattr(variable.value, "distribute_strategy", None)
        if strategy is None:
            return array
        with strategy.scope():
            return of_first_process(array)
    if not tf.distribute.has_strategy():
        raise RuntimeError(
            "There are several processes (TF_CONFIG names them), and no "
            "strategy in use by which they could agree. Make this within "
            "`strategy.scope()`."
        )
    strategy = tf.distribute.get_strategy()
    mine = array.astype("int64")

    def on_replica():
        context = tf.distribute.get_replica_context()
        return context.all_reduce(
            tf.distribute.ReduceOp.SUM,
            on_first_replica(tf.convert_to_tensor(mine)),
        )

    found = strategy.experimental_local_results(strategy.run(on_replica))
    return found[0].numpy().astype(array.dtype)


def any_process(flag):
    if not tf.distribute.has_strategy():
        return flag  # Nothing by which they could agree.
    strategy = tf.distribute.get_strategy()

    def on_replica():
        context = tf.distribute.get_replica_context()
        mine = tf.constant(int(flag))
        return context.all_reduce(tf.distribute.ReduceOp.SUM, mine)

    found = strategy.experimental_local_results(strategy.run(on_replica))
    return bool(found[0].numpy())


def within_strategy() -> bool:
    return tf.distribute.has_strategy()


def is_concrete(tensor) -> bool:
    return not tf.is_symbolic_tensor(tensor)


def value_and_gradients(function, primals):
    with tf.GradientTape() as tape:
        tape.watch(primals)
        value = function(primals)
    return value, _dense_gradients(tape, value, primals)


def gradients_with_aux(function, primals):
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(primals)
        value, aux = function(primals)
    return value, aux, _dense_gradients(tape, value, primals)


def tapped_gradients(function):
    taps = []
    with tf.GradientTape(watch_accessed_variables=False) as tape:

        def tap(tensor):
            tensor = tf.identity(tensor)
            tape.watch(tensor)
            taps.append(tensor)
            return tensor

        value, aux = function(tap)
    return value, aux, _dense_gradients(tape, value, taps)


def _dense_gradients(tape, value, primals):
    """What a lookup passes back is sparse, and has no norm."""
    grads = tape.gradient(
        value, primals, unconnected_gradients=tf.UnconnectedGradients.ZERO
    )
    return [tf.convert_to_tensor(grad) for grad in grads]


class _Stream(keras.random.SeedGenerator):
    """A random stream of which the state is given, and which has no variable."""

    def __init__(self, state):
        self.state = state

    def next(self, ordered=True):
        return self.state


def draws(initializer, seeds, shape, dtype):
    config = initializer.get_config()

    def draw(carry, states):
        stream = {**config, "seed": _Stream(states[0])}
        of_stream = type(initializer).from_config(stream)
        return carry, [of_stream(shape, dtype=dtype)]

    @tf.function(autograph=False)
    def in_a_loop():
        # What Keras makes of an integer seed: itself, and no draws so far.
        states = tf.constant([(seed, 0) for seed in seeds], tf.int64)
        return scan(draw, [], [states], False, False)[1][0]

    # Called by itself it would warn of one program per shape.
    return in_a_loop.get_concrete_function()()


def sum_over_replicas(tensors):
    tensors = [tf.convert_to_tensor(tensor) for tensor in tensors]
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1 or not tensors:
        return tensors
    return context.all_reduce(tf.distribute.ReduceOp.SUM, tensors)


def on_first_replica(tensor):
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return tensor
    first = tf.equal(context.replica_id_in_sync_group, 0)
    return tf.where(first, tensor, tf.zeros_like(tensor))


def compiled_pullback(function):
    compiled = tf.function(function, autograph=False)

    def run(primals, constants):
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(primals)
            value, extras = compiled(primals, constants)

        def pullback():
            return tape.gradient(
                value,
                primals,
                unconnected_gradients=tf.UnconnectedGradients.ZERO,
            )

        return value, extras, pullback

    return run


def pullbacks(layer, function, primals, selections):
    with tf.GradientTape(
        persistent=True, watch_accessed_variables=False
    ) as tape:
        tape.watch(primals)
        outputs = function(primals)

    def pull(selection, cotangents):
        gradients = tape.gradient(
            [outputs[index] for index in selection],
            primals,
            output_gradients=list(cotangents),
            unconnected_gradients=tf.UnconnectedGradients.ZERO,
        )
        return [tf.stop_gradient(tf.convert_to_tensor(g)) for g in gradients]

    return outputs, [partial(pull, selection) for selection in selections]
