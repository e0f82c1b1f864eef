"""The gradients of an engine beside plain differentiation, before training.

The fast engine takes a model apart and trusts what it knows of the parts. What
it says of one example between two others is compared with the gradient of the
whole model on a batch of that example alone: what mixes examples, or is taken
apart wrongly, shows. Weights are moved a little first, in a copy: at their
start many gradients are 0, and what was read when the model was taken apart is
out of date then.

A model that draws random numbers draws others for more examples: of that, the
example alone is compared.
"""

import types
from typing import Any

import keras
import numpy as np
from keras import ops, tree

from tfdeep import backend
from tfdeep.inside import is_graph
from tfdeep.privacy.per_example.vectorized import Vectorized

# By how much a gradient may differ, of its own size, by rounding alone.
ROUNDING = {"float64": 1e-6, "float32": 2e-3, "bfloat16": 0.1}


def wrong_weights(engine, model, owner, example) -> list[str]:
    """The paths of the weights whose gradients an engine gets wrong.

    Args:
        engine: what differentiates, example by example.
        model: the built model.
        owner: the compiled model whose loss is taken.
        example: `(x, y, sample_weight)`, a batch of one.
    """
    x, y, weight = tree.map_structure(as_tensor, example)
    row = 0
    if not engine.seeds and takes_any_batch(model):
        row, x = 1, tree.map_structure(among_others, x)
        y, weight = (
            tree.map_structure(
                lambda t: None if t is None else ops.repeat(t, 3, axis=0), each
            )
            for each in (y, weight)
        )
    rng = np.random.default_rng(0)
    trainable = [moved(variable, rng) for variable in model.trainable_variables]
    state = [variable.value for variable in model.non_trainable_variables]
    alone = Vectorized(model, owner, loop=True)

    def both(trainable, state, x, y, weight):
        batch = engine.run(trainable, state, x, y, weight)
        kept = ops.convert_to_tensor([True] * (2 * row + 1))
        ours = [each[row] for each in batch.gradients.records(kept)]
        y, weight = (
            tree.map_structure(lambda t: None if t is None else t[row], each)
            for each in (y, weight)
        )
        x = tree.map_structure(
            lambda t: None if t is None else t[row : row + 1], x
        )
        theirs, *_ = alone.one_example(trainable, state, x, y, weight)
        return ours, list(theirs)

    ours, theirs = backend.at_once(both, trainable, state, x, y, weight)
    return [
        variable.path
        for variable, one, other in zip(
            model.trainable_variables, ours, theirs, strict=True
        )
        if not same(one, other, model.compute_dtype)
    ]


def takes_any_batch(model) -> bool:
    """Whether no size of a batch was given for the inputs of a model."""
    return not is_graph(model) or all(
        spec.shape[0] is None for spec in model.inputs
    )


def among_others(tensor):
    """An example (1, ...) as the second of three, of unlike values."""
    if tensor is None:
        return None
    turned = tensor
    if len(tensor.shape) > 1:
        turned = ops.roll(tensor, 1, axis=-1)
    if "float" in keras.backend.standardize_dtype(tensor.dtype):
        before, after = 1.7 * tensor + 0.1, 0.3 * turned
        return ops.concatenate([before, tensor, after], axis=0)
    return ops.concatenate([turned, tensor, turned], axis=0)


def same(one, other, dtype: str) -> bool:
    """Whether two gradients are equal but for rounding."""
    one, other = (
        np.asarray(ops.convert_to_numpy(ops.cast(t, "float32")), "float64")
        for t in (one, other)
    )
    if not np.all(np.isfinite(other)):
        return True  # It adds nothing, whatever it is.
    size = np.linalg.norm(other)
    return bool(np.linalg.norm(one - other) <= ROUNDING[dtype] * size + 1e-9)


def moved(variable, rng):
    """Other values for a variable, about as large as its own."""
    value = np.array(ops.convert_to_numpy(variable.value))
    noise = rng.normal(size=value.shape) * (0.1 * np.std(value) + 0.01)
    return ops.convert_to_tensor((value + noise).astype(value.dtype))


def as_tensor(value):
    """An array as Keras hands it to a model."""
    if value is None or ops.is_tensor(value):
        return value
    value = np.asarray(value)
    if value.dtype.kind == "f":
        value = value.astype(keras.config.floatx())
    return ops.convert_to_tensor(value)


def first_example(arguments: dict):
    """One example of what `fit` came with; `None` if none can be had.

    A generator gets back what was taken from it.
    """
    x: Any = arguments.get("x")
    if isinstance(x, types.GeneratorType):
        batch = next(x, None)
        if batch is None:
            return None
        arguments["x"] = again(batch, x)
    elif isinstance(x, keras.utils.PyDataset):
        batch = x[0]
    elif hasattr(x, "__iter__") and not is_array(x):
        batch = next(iter(x), None)
    else:
        batch = x, arguments.get("y"), arguments.get("sample_weight")
    if batch is None:
        return None
    return one_of(keras.utils.unpack_x_y_sample_weight(batch))


def is_array(x) -> bool:
    """Whether it is an array, or a structure of arrays."""
    leaves = [each for each in tree.flatten(x) if each is not None]
    return bool(leaves) and all(hasattr(each, "shape") for each in leaves)


def again(batch, rest):
    """A generator that begins with a batch."""
    yield batch
    yield from rest


def one_of(batch):
    """A batch of one example of a batch, with a weight that is not 0."""
    x, y, weight = batch
    row = 0
    if weight is not None:
        shown = np.asarray(ops.convert_to_numpy(tree.flatten(weight)[0]))
        row = int(np.argmax(np.reshape(shown != 0, (len(shown), -1)).any(1)))
        weight = tree.map_structure(lambda t: t[row : row + 1] * 0 + 1, weight)
    x, y = (
        tree.map_structure(lambda t: None if t is None else t[row : row + 1], e)
        for e in (x, y)
    )
    return x, y, weight


def synthetic(batch):
    """An example of the shapes and dtypes of a batch that is not known yet."""
    rng = np.random.default_rng(1)

    def one(tensor):
        if tensor is None:
            return None
        shape = (1, *(4 if size is None else size for size in tensor.shape[1:]))
        dtype = keras.backend.standardize_dtype(tensor.dtype)
        if "float" in dtype:
            return rng.normal(size=shape).astype("float32").astype(dtype)
        return np.ones(shape, dtype)

    x, y, weight = tree.map_structure(one, batch)
    return (
        x,
        y,
        tree.map_structure(
            lambda t: None if t is None else np.ones_like(t), weight
        ),
    )
