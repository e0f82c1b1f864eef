"""Whether a model keeps the examples of a batch apart: tried, not argued.

One row of a batch is changed in every way that could show in another: made
small and large, 0, NaN, infinite; put elsewhere, and left out. The outputs, the
gradients by the inputs and the state of all others must stay as they were.
"""

import weakref

import keras
import numpy as np
from keras import ops, tree

from tfdeep import backend

ROW = 1
FACTORS = (1e-3, -1e3, 1e6, 0.0, np.nan, np.inf)


class Mixes(AssertionError):
    """Raised where an example acts on another."""


def check_keeps_apart(model, inputs) -> None:
    """Raise `Mixes` if an example acts on another.

    Args:
        model: a built model that takes batches of any size.
        inputs: a batch of four rows at least, or a list of them.
    """
    for training in (False, True):
        _check(model, inputs, training)


def _check(model, inputs, training) -> None:
    before = seen(model, inputs, training)
    others = [i for i in range(rows_of(inputs)) if i != ROW]
    for name, changed in changes(inputs):
        try:
            after = seen(model, changed, training)
        except Exception as error:  # It ends the step of all.
            raise Mixes(f"{name}: {type(error).__name__}") from error
        compare(before, after, others, others, f"{name}, training={training}")
    if draws(model):
        return  # Numbers go by the place in a batch, and its size.
    order = list(reversed(range(rows_of(inputs))))
    turned = seen(model, taken(inputs, order), training)
    compare(before, turned, order, range(len(order)), f"order, {training}")
    alone = seen(model, taken(inputs, others), training)
    compare(before, alone, others, range(len(others)), f"removal, {training}")


def draws(model) -> bool:
    """Whether there are random streams in it."""
    weights = {id(weight) for weight in model.weights}
    return any(id(v) not in weights for v in model.variables)


def rows_of(inputs) -> int:
    return len(tree.flatten(inputs)[0])


def taken(inputs, rows):
    """Some rows of a batch, in some order."""
    return tree.map_structure(lambda array: array[list(rows)], inputs)


def changes(inputs):
    """The batch with one row changed, in many ways."""
    for factor in FACTORS:
        yield (
            f"times {factor}",
            tree.map_structure(lambda a, f=factor: _changed(a, f), inputs),
        )


def _changed(array, factor):
    array = np.array(array)
    if array.dtype.kind == "f":
        with np.errstate(invalid="ignore"):
            array[ROW] *= factor
    else:
        array[ROW] = array[0] if np.isfinite(factor) else array[ROW - 1][::-1]
    return array


def seen(model, inputs, training) -> list[np.ndarray]:
    """Outputs, gradients by the inputs, and state: what may not move."""
    trainable, state = backend.read_variables(model)
    kept = [id(weight) for weight in model.weights]

    def call(state, *primals):
        given = tree.pack_sequence_as(inputs, list(primals))
        outputs, new_state, _ = backend.stateless_call(
            model, trainable, state, given, training=training
        )
        return list(tree.flatten(outputs)), new_state

    def run(state, *tensors):
        outputs, after = call(state, *tensors)
        floats = [*tensors, *outputs]
        if not all(keras.backend.is_float_dtype(t.dtype) for t in floats):
            return outputs, after
        cotangents = [
            ops.cos(ops.cast(i + 1, t.dtype) * ops.ones_like(t))
            for i, t in enumerate(outputs)
        ]
        grads = backend.vjp(
            lambda *primals: call(state, *primals)[0], tensors, cotangents
        )
        return [*outputs, *grads], after

    tensors = [ops.convert_to_tensor(each) for each in tree.flatten(inputs)]
    found, after = compiled(run, model, training)(state, *tensors)
    moved = [
        variable.path
        for variable, old, new in zip(
            model.non_trainable_variables, state, after, strict=True
        )
        if id(variable) in kept
        and not np.array_equal(
            ops.convert_to_numpy(old), ops.convert_to_numpy(new)
        )
    ]
    if moved:
        raise Mixes(f"{moved} keep what they saw")
    return [ops.convert_to_numpy(each) for each in found]


# Models and what was compiled of them. JAX would compile each operation.
_programs: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()


def compiled(run, model, training):
    """On JAX one program, made once for each model."""
    if keras.backend.backend() != "jax":
        return run
    import jax

    from tfdeep.backend.jax import QUICKLY

    programs = _programs.setdefault(model, {})
    if training not in programs:
        programs[training] = jax.jit(run, compiler_options=QUICKLY)
    return programs[training]


def compare(before, after, rows, places, what: str) -> None:
    """Raise unless the rows of one are at these places of the other."""
    for old, new in zip(before, after, strict=True):
        if not np.shape(new) or len(new) <= max(places):
            raise Mixes(f"{what}: an output without a row for each example")
        old, new = old[list(rows)], new[list(places)]
        if old.dtype.kind != "f":
            same = np.array_equal(old, new)
        else:
            scale = np.max(np.abs(old), initial=1e-30, where=np.isfinite(old))
            same = np.allclose(old, new, 1e-4, 1e-5 * scale, equal_nan=True)
        if not same:
            raise Mixes(f"{what}: the others moved")
