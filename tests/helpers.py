"""Gradients, compiled calls and counters that work on every backend.

No backend is imported before a function that needs it runs: the suite runs
where only one of them is installed.
"""

import contextlib

import keras
import numpy as np
import pytest
from keras import ops

BACKEND = keras.backend.backend()


def images(*shape, seed=0):
    """Normal float32 values."""
    values = np.random.default_rng(seed).normal(size=shape)
    return values.astype("float32")


def arrays(tensors):
    """Tensors, variables or `None`s, as NumPy arrays or `None`s."""
    values = [t.value if isinstance(t, keras.Variable) else t for t in tensors]
    return [
        None if t is None else np.array(ops.convert_to_numpy(t)) for t in values
    ]


drops_everything = pytest.mark.skipif(
    tuple(map(int, keras.version().split(".")[:2])) < (3, 14),
    reason="Dropout(1.0) is refused by Keras 3.13",
)


def activity_penalty(total, batch):
    """What Keras makes of an activity penalty: the mean over the batch.

    Keras 3.13 adds the sum, though it says otherwise.
    """
    layer = keras.layers.ActivityRegularization(l1=1.0)
    layer(np.ones((2, 1), "float32"))
    return total / batch if float(layer.losses[0]) == 1.0 else total


def copy_weights(source, target):
    """Give a layer the weights of another."""
    for new, old in zip(target.weights, source.weights, strict=True):
        new.assign(old.value)


def flat(result):
    """The arrays that `gradients` returns, as one list."""
    y, dx, weight_gradients = result
    return [y, dx, *weight_gradients]


def close(ours, theirs, rtol=1e-5, atol=1e-6):
    """Assert that two lists of arrays are equal within rounding."""
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=atol)


def randomize(layer, seed=0):
    """Give all weights of a layer random values, variances positive ones.

    Zeros and ones, which Keras starts with, would hide an error.
    """
    rng = np.random.default_rng(seed)
    for weight in layer.weights:
        if "seed" in weight.path or "int" in str(weight.dtype):
            continue
        values = rng.normal(size=weight.shape) * 0.5
        if "variance" in weight.path or "gamma" in weight.path:
            values = 0.5 + np.abs(values)
        weight.assign(values.astype("float32"))


def compiled(function, mode):
    """`function(*arrays)` run eagerly, as a graph or by XLA, to arrays."""
    if mode != "eager" and BACKEND == "tensorflow":
        import tensorflow as tf

        function = tf.function(function, jit_compile=mode == "xla")
    elif mode != "eager":
        import jax

        function = jax.jit(function)
    return lambda *args: arrays(
        keras.tree.flatten(function(*map(ops.convert_to_tensor, args)))
    )


def projection(y):
    """A scalar with another gradient at each entry of `y`."""
    cotangent = np.cos(np.arange(np.prod(y.shape))).reshape(tuple(y.shape))
    return ops.sum(ops.cast(y, "float32") * cotangent.astype("float32"))


def reference_gradients(function, *values):
    """Call `function(*values)` and differentiate its `projection`.

    Returns:
        `(outputs, gradients)`, one gradient per value, as NumPy arrays.
    """
    tensors = [ops.convert_to_tensor(value) for value in values]
    if BACKEND == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape() as tape:
            tape.watch(tensors)
            y = function(*tensors)
            target = projection(y)
        grads = tape.gradient(target, tensors, unconnected_gradients="zero")
    else:
        import jax

        def scalar(*tensors):
            y = function(*tensors)
            return projection(y), y

        step = jax.value_and_grad(scalar, range(len(tensors)), has_aux=True)
        (_, y), grads = jax.jit(step)(*tensors)
    return arrays([y])[0], arrays(grads)


def gradients(layer, x, compiled=None, losses=False, **kwargs):
    """Call a built layer, update its state, differentiate its `projection`.

    Args:
        layer: a built layer or model.
        x: the input, an array.
        compiled: whether to run in a graph (`tf.function`, `jax.jit`);
            "xla" for TensorFlow's with XLA. Defaults to what is faster for
            one call: no, and yes.
        losses: whether to add the layer's losses to what is differentiated.
        **kwargs: further arguments of the call, such as `training`.

    Returns:
        `(outputs, input gradient, list of weight gradients)`, arrays.
    """
    if not layer.built:
        layer.build(x.shape)
    return training_step(layer, compiled, losses, **kwargs)(x)


def training_step(layer, compiled=True, losses=False, **kwargs):
    """`gradients` as a function of `x` alone, compiled once.

    With `compiled=None` it is compiled on JAX alone, as in `gradients`.
    """
    if compiled is None:
        compiled = BACKEND == "jax"
    build = _tensorflow_step if BACKEND == "tensorflow" else _jax_step
    return build(layer, compiled, losses, kwargs)


def _tensorflow_step(layer, compiled, losses, kwargs):
    import tensorflow as tf

    def step(x):
        weights = [v.value for v in layer.trainable_variables]
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x, **kwargs)
            target = projection(y)
            if losses:
                target += sum(layer.losses)
        grads = tape.gradient(
            target, [x, *weights], unconnected_gradients="zero"
        )
        return y, grads[0], grads[1:]

    if compiled:
        step = tf.function(step, jit_compile=compiled == "xla")

    def run(x):
        y, dx, weight_gradients = step(ops.convert_to_tensor(x))
        return *arrays([y, dx]), arrays(weight_gradients)

    return run


def _jax_step(layer, compiled, losses, kwargs):
    import jax

    def scalar(x, trainable, state):
        mapping = [
            *zip(layer.trainable_variables, trainable, strict=True),
            *zip(layer.non_trainable_variables, state, strict=True),
        ]
        with keras.StatelessScope(mapping, collect_losses=True) as scope:
            y = layer(x, **kwargs)
            target = projection(y)
            if losses:
                target += sum(layer.losses)
        state = [
            scope.get_current_value(v) for v in layer.non_trainable_variables
        ]
        return target, (y, state)

    step = jax.value_and_grad(scalar, (0, 1), has_aux=True)
    step = jax.jit(step) if compiled else step

    def run(x):
        state = [v.value for v in layer.non_trainable_variables]
        trainable = [v.value for v in layer.trainable_variables]
        (_, (y, state)), (dx, weight_gradients) = step(
            ops.convert_to_tensor(x), trainable, state
        )
        for variable, value in zip(
            layer.non_trainable_variables, state, strict=True
        ):
            variable.assign(value)
        jax.effects_barrier()
        return *arrays([y, dx]), arrays(weight_gradients)

    return run


def at_run_time(function):
    """Call a Python function whenever the graph around this line runs."""
    if BACKEND == "tensorflow":
        import tensorflow as tf

        tf.py_function(function, [], [])
    else:
        import jax

        jax.debug.callback(function)


class Probe(keras.layers.Layer):
    """The identity, counting how often it runs forward and backward."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.supports_masking = True
        self.count = {"forward": 0, "backward": 0}

    def _tick(self, direction):
        def tick():
            self.count[direction] += 1

        at_run_time(tick)

    def build(self, input_shape):
        self.scale = self.add_weight(shape=(), initializer="ones")

    def call(self, inputs):
        @ops.custom_gradient
        def probe(x):
            self._tick("forward")

            def grad(*args, upstream=None):
                self._tick("backward")
                return args[0] if upstream is None else upstream

            return x * 1.0, grad

        return probe(inputs) * self.scale

    def compute_output_shape(self, input_shape):
        return input_shape


def kept_bytes(layer, x):
    """Bytes of feature maps kept from the forward to the backward pass.

    On TensorFlow: what operations of the backward graph read from those of
    the forward graph. On JAX: what the function returned by `jax.vjp` holds.
    Weights do not count: only tensors that have the batch's size first.
    """
    measure = _tensorflow_kept if BACKEND == "tensorflow" else _jax_kept
    tensors = measure(layer, ops.convert_to_tensor(x))
    return sum(
        int(np.prod(shape)) * size
        for shape, size in tensors
        if len(shape) == 4 and shape[0] == x.shape[0]
    )


def _tensorflow_kept(layer, x):
    import tensorflow as tf

    first_of_backward = []

    @tf.function
    def step(x):
        weights = [v.value for v in layer.trainable_variables]
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x, training=True)
        graph = tf.compat.v1.get_default_graph()
        first_of_backward.append(len(graph.get_operations()))
        return tape.gradient(y, [x, *weights], tf.ones(y.shape))

    operations = step.get_concrete_function(x).graph.get_operations()
    backward = operations[first_of_backward[-1] :]
    forward = {op.name for op in operations[: first_of_backward[-1]]}
    kept = {
        tensor.name: tensor
        for op in backward
        for tensor in op.inputs
        if tensor.op.name in forward
    }
    return [(tuple(t.shape), t.dtype.size) for t in kept.values()]


def _jax_kept(layer, x):
    import jax

    trainable = [v.value for v in layer.trainable_variables]
    state = [v.value for v in layer.non_trainable_variables]

    def function(x, trainable):
        return layer.stateless_call(trainable, state, x, training=True)[0]

    _, pullback = jax.vjp(function, x, trainable)
    kept = {id(leaf): leaf for leaf in jax.tree.leaves(pullback)}
    return [(leaf.shape, leaf.dtype.itemsize) for leaf in kept.values()]


def double_precision():
    """A scope in which JAX has float64; older releases hide it elsewhere."""
    if BACKEND != "jax":
        return contextlib.nullcontext()
    import jax

    if hasattr(jax, "enable_x64"):
        return jax.enable_x64(True)
    from jax.experimental import enable_x64

    return enable_x64()
