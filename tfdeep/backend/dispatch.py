"""The primitives that are written once per backend."""

import contextlib
import functools
import importlib
from concurrent.futures import ThreadPoolExecutor

import keras
from keras import ops

_MODULES = {
    "tensorflow": "tfdeep.backend.tensorflow",
    "jax": "tfdeep.backend.jax",
}


def _module(primitive: str):
    name = keras.backend.backend()
    if name not in _MODULES:
        raise NotImplementedError(
            f"`{primitive}` was called on the {name} backend. It exists on "
            f"{' and '.join(_MODULES)}. Set KERAS_BACKEND to one of them."
        )
    return importlib.import_module(_MODULES[name])


def custom_vjp(forward, backward, primals, constants):
    """Call `forward` and let `backward` compute its gradient.

    Args:
        forward: `forward(primals, constants) -> (outputs, extras, kept)`,
            five lists of tensors. `extras` carry no gradient.
        backward: `backward(primals, constants, kept, cotangents)`, the list
            of gradients with respect to `primals`.
        primals: list of tensors to differentiate.
        constants: list of tensors of any dtype, never differentiated.

    Returns:
        `(outputs, extras)`.
    """
    module = _module("custom_vjp")
    return module.custom_vjp(forward, backward, primals, constants)


def vjp(function, primals, cotangent):
    """Gradients of `sum(function(*primals) * cotangent)` by each primal."""
    return _module("vjp").value_and_vjp(function, primals, cotangent)[1]


def value_and_vjp(function, primals, cotangent):
    """Return `function(*primals)` and what `vjp` does, from one forward pass.

    The function may return a list; the cotangent is one like it then.
    """
    module = _module("value_and_vjp")
    return module.value_and_vjp(function, primals, cotangent)


def after(event, tensors, weights):
    """Return `tensors` and `weights`, not to be used before `event` exists.

    The event is a tensor or a list of them.

    A recomputation whose inputs depend on the incoming gradient cannot be
    merged with the forward pass, nor be scheduled before the backward pass.
    The backend's own means of saying so is enough on a GPU and without XLA.
    XLA on a CPU drops it and merges the two, and so the weights also depend
    on the event by value: a zero computed from it is added to them, which
    costs little as weights are small.
    """
    count = len(tensors)
    events = event if isinstance(event, list) else [event]
    ordered = _module("after").after([*tensors, *weights], events)
    first = sum(
        ops.cast(ops.sum(ops.reshape(each, (-1,))[:1]), events[0].dtype)
        for each in events
    )
    zero = ops.minimum(ops.square(first), 0)
    return ordered[:count], [
        weight + ops.cast(zero, weight.dtype) for weight in ordered[count:]
    ]


def once_known(tensor, event):
    """Return a tensor that is not made before another is known, row by row.

    XLA keeps as much at a time as it finds to run at once. What waits takes
    no memory yet. TensorFlow makes each tensor when it is read.

    Args:
        tensor: (batch, ...).
        event: (batch,), nowhere below 0. It may be infinite or NaN.
    """
    return _module("once_known").once_known(tensor, event)


def has_accelerator() -> bool:
    """Whether the backend computes on something other than a CPU.

    Other backends than ours are taken to: they get the native operations.
    """
    if keras.backend.backend() not in _MODULES:
        return True
    return _module("has_accelerator").has_accelerator()


def as_branch(function):
    """The function as it is best in a condition, where it may not run.

    On JAX the backward pass keeps little of it and computes the rest again,
    and on a CPU its convolutions are laid out for the fast routine.
    """
    if keras.backend.backend() not in _MODULES:
        return function
    return _module("as_branch").as_branch(function)


def as_step(function):
    """The function as it is best in a loop that a gradient is taken of.

    Without it, TensorFlow cannot compile products of three axes and more by
    XLA where the size of the batch is unknown.
    """
    if keras.backend.backend() != "tensorflow":
        return function
    return _module("as_step").as_step(function)


def as_written(function):
    """The function, not to be rewritten by whatever traces it.

    TensorFlow would translate its Python control flow, and wrap its errors.
    """
    if keras.backend.backend() not in _MODULES:
        return function
    return _module("as_written").as_written(function)


def maps_safely(function, elements) -> bool:
    """Whether `ops.vectorized_map` does for a function.

    TensorFlow's form of it spoils memory where a function multiplies
    batches of matrices, as an einsum does, and ends the process sooner or
    later. It knows no conditions.

    Args:
        function: what is to be mapped, of one element.
        elements: a nested structure of tensors, with elements along the first
            axis.
    """
    if keras.backend.backend() != "tensorflow":
        return True
    return _module("maps_safely").maps_safely(function, elements)


def require(condition, message: str, *values) -> None:
    """Raise an error where a program finds that a condition does not hold.

    On TensorFlow alone, and not where XLA compiles it: neither it nor JAX has
    a way of stopping.

    Args:
        condition: boolean scalar tensor.
        message: what must be.
        *values: tensors to print behind it.
    """
    if keras.backend.backend() == "tensorflow":
        _module("require").require(condition, message, *values)


def runs_eagerly() -> bool:
    """Whether operations run one by one now, without a traced program."""
    if keras.backend.backend() not in _MODULES:
        return True
    return _module("runs_eagerly").runs_eagerly()


def at_once(function, *arguments):
    """Call a function that is called once only, in the way that starts soonest.

    It is called now, also while something is being traced, in a thread: what is
    traced, and what records gradients, belongs to one. `outside_of_traces` is
    no help for functions that differentiate: TensorFlow records nothing there,
    so that all gradients are 0, and JAX fails at loops.

    Args:
        function: of nested structures of tensors, to one.
        *arguments: its arguments; `None` may be among the leaves.
    """
    call = function
    if keras.backend.backend() == "jax":
        call = functools.partial(_module("at_once").at_once, function)
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(call, *arguments).result()


def outside_of_traces():
    """A context in which operations run now, whatever is being traced."""
    if keras.backend.backend() not in _MODULES:
        return contextlib.nullcontext()
    return _module("outside_of_traces").outside_of_traces()


def has_float64() -> bool:
    """Whether the backend computes in double precision where it is told to."""
    if keras.backend.backend() not in _MODULES:
        return False
    return _module("has_float64").has_float64()


def replica_count() -> int:
    """How many devices share the batch, each computing a loss of its own.

    Losses of Keras are divided by it. On JAX one program sees the whole batch.
    """
    if keras.backend.backend() not in _MODULES:
        return 1
    return _module("replica_count").replica_count()


def process_count() -> int:
    """How many processes train one model together."""
    if keras.backend.backend() not in _MODULES:
        return 1
    return _module("process_count").process_count()


def process_index() -> int:
    """The number of this process among them; the first one is 0."""
    if keras.backend.backend() not in _MODULES:
        return 0
    return _module("process_index").process_index()


def of_first_process(array, variable=None):
    """The array that the first process holds, on all of them.

    Args:
        array: of one shape and dtype in all processes; integers.
        variable: on TensorFlow, a Keras variable whose strategy to use, if
            any, where none is in use. One without is trained by its process
            alone, and the array is returned as it is.
    """
    if process_count() == 1:
        return array
    return _module("of_first_process").of_first_process(array, variable)


def any_process(flag: bool) -> bool:
    """Whether something holds in one of the processes that train together.

    All of them must ask. One that raised an error alone would leave the others
    waiting for it.
    """
    if process_count() == 1:
        return flag
    return _module("any_process").any_process(flag)


def within_strategy() -> bool:
    """Whether this runs in the scope of a `tf.distribute` strategy."""
    if keras.backend.backend() != "tensorflow":
        return False
    return _module("within_strategy").within_strategy()


def is_concrete(tensor) -> bool:
    """Whether a tensor has values now: not symbolic, nor being traced."""
    if isinstance(tensor, keras.KerasTensor):
        return False
    if keras.backend.backend() not in _MODULES:
        return True
    return _module("is_concrete").is_concrete(tensor)


def value_and_gradients(function, primals):
    """Return `function(primals)` and its gradient by each of the primals.

    Both can be differentiated again: a gradient of gradients is a call of
    this inside a function that is itself differentiated.

    Args:
        function: function of a list of tensors that returns a scalar.
        primals: list of tensors.

    Returns:
        `(value, gradients)`; a gradient is zero where nothing depends on it.
    """
    return _module("value_and_gradients").value_and_gradients(function, primals)


def compiled_pullback(function):
    """Compile a function and, apart from it, the gradient of its value.

    The gradient is computed only when it is asked for, from what the forward
    program kept, so that a program in Python may decide by the value.

    Args:
        function: `function(primals, constants) -> (value, extras)`: a nested
            structure of tensors to differentiate, one of other tensors, a
            scalar, and a structure of tensors without a gradient.

    Returns:
        `run(primals, constants) -> (value, extras, pullback)`, where
        `pullback()` is the gradient of the value by the primals.
    """
    return _module("compiled_pullback").compiled_pullback(function)


def pullbacks(layer, function, primals, selections):
    """Call a function, and get gradients of its outputs ahead of time.

    The outputs take part in the gradient that is taken around this, as if
    `function` had been called alone. Each pullback gives a further gradient
    as a constant, to be used in what is differentiated: a gradient that one
    part of a loss gets, and another does not.

    Args:
        layer: a built layer, whose variables are all that `function` reads
            or changes.
        function: function from a list of tensors to a list of tensors.
        primals: list of floating-point tensors to differentiate by.
        selections: for each pullback the list of the outputs' indices that
            it starts from.

    Returns:
        `(outputs, pulls)`: `pulls[i](cotangents)` takes one cotangent per
        output selected and returns the gradient by each of the primals.
    """
    module = _module("pullbacks")
    return module.pullbacks(layer, function, list(primals), selections)


def gradients_with_aux(function, primals):
    """Like `value_and_gradients`, for a function that returns more.

    Args:
        function: `function(primals) -> (value, aux)`: a scalar, and a nested
            structure of tensors that is handed on.
        primals: list of tensors.

    Returns:
        `(value, aux, gradients)`.
    """
    return _module("gradients_with_aux").gradients_with_aux(function, primals)


def tapped_gradients(function):
    """Gradients by tensors in the middle of a computation.

    Args:
        function: `function(tap) -> (value, aux)`: a scalar to differentiate
            and a nested structure of tensors. It hands each tensor that a
            gradient is wanted of to `tap(tensor)`, and goes on with what that
            returns. It may be called twice, and must do the same each time.

    Returns:
        `(value, aux, gradients)`, a gradient per call of `tap`, in order.
    """
    return _module("tapped_gradients").tapped_gradients(function)


def draws(initializer, seeds, shape, dtype):
    """What an initializer draws for each of several seeds, stacked.

    The values are, to the bit, those of one initializer per seed.

    Args:
        initializer: one of Keras' own, which draws from a single stream.
        seeds: list of integers.
        shape: tuple of integers, of what each of them draws.
        dtype: its dtype, or `None` for the default.
    """
    return _module("draws").draws(initializer, seeds, shape, dtype)


def normal(shape, deviation: float, seed, dtype=None):
    """Normal values of mean 0, as `keras.random.normal` draws them.

    On JAX tensors of similar sizes share one compiled program.
    """
    if keras.backend.backend() != "jax":
        return keras.random.normal(shape, 0.0, deviation, dtype, seed)
    return _module("normal").normal(shape, deviation, seed, dtype)


def sum_over_replicas(tensors):
    """The sums of a list of tensors over the devices that share the batch.

    They are dense, also those of gradients that TensorFlow keeps as slices.
    """
    if keras.backend.backend() not in _MODULES:
        return list(tensors)
    return _module("sum_over_replicas").sum_over_replicas(list(tensors))


def on_first_replica(tensor):
    """The tensor on the first of the devices that share the batch, else 0."""
    if keras.backend.backend() not in _MODULES:
        return tensor
    return _module("on_first_replica").on_first_replica(tensor)
