"""The gradients of an engine beside plain differentiation, before training.

The fast engine takes a model apart and trusts what it knows of the parts. What
it says of one example between two others is compared with the gradient of the
whole model on a batch of that example alone: what mixes examples, or is taken
apart wrongly, shows. Weights are moved a little first, in a copy: at their
start many gradients are 0, and what was read when the model was taken apart is
out of date then.

A model that draws random numbers draws others for more examples: of that, the
example alone is compared.

Rounding may bring a unit to the other side of the kink of a ReLU, which changes
gradients by a percent, and a deep net has some unit that near to its kink at
most weights. Gradients that differ are therefore compared once more: by no more
than plain differentiation of the example alone differs from itself if weights
are moved by about their rounding, to either side.
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
# By how much of itself a weight is moved to see what more rounding can do.
SHAKE = {"float64": 1e-13, "float32": 1e-5, "bfloat16": 0.02}


def wrong_weights(engine, model, owner, example) -> list[str]:
    """The paths of the weights whose gradients an engine gets wrong.

    Args:
        engine: what differentiates, example by example.
        model: the built model.
        owner: the compiled model whose loss is taken.
        example: `(x, y, sample_weight)`, a batch of one.
    """
    # In NumPy: each operation of its own would be compiled by JAX.
    x, y, weight = tree.map_structure(as_array, example)
    row = 0
    if not engine.seeds and takes_any_batch(model):
        row, x = 1, tree.map_structure(among_others, x)
        y, weight = (
            tree.map_structure(
                lambda t: None if t is None else np.repeat(t, 3, axis=0), each
            )
            for each in (y, weight)
        )
    x, y, weight = tree.map_structure(as_tensor, (x, y, weight))
    rng = np.random.default_rng(0)
    trainable = [moved(variable, rng) for variable in model.trainable_variables]
    state = [variable.value for variable in model.non_trainable_variables]
    plain = Vectorized(model, owner, loop=True)

    def alone(trainable, state, x, y, weight):
        """Plain differentiation, on a batch of the example."""
        y, weight = (
            tree.map_structure(lambda t: None if t is None else t[row], each)
            for each in (y, weight)
        )
        x = tree.map_structure(
            lambda t: None if t is None else t[row : row + 1], x
        )
        grads, *_ = plain.one_example(trainable, state, x, y, weight)
        return list(grads)

    def both(trainable, *rest):
        batch = engine.run(trainable, *rest)
        kept = ops.convert_to_tensor([True] * (2 * row + 1))
        ours = [each[row] for each in batch.gradients.records(kept)]
        return ours, alone(trainable, *rest)

    def shaken(trainable, signs, *rest):
        """The same with weights that are moved by rounding, to both sides."""
        step = SHAKE[model.compute_dtype]
        return [
            alone(
                [
                    w * (1.0 + way * step * ops.cast(sign, w.dtype))
                    for w, sign in zip(trainable, signs, strict=True)
                ],
                *rest,
            )
            for way in (1.0, -1.0)
        ]

    rest = state, x, y, weight
    ours, theirs = backend.at_once(both, trainable, *rest)
    ours, theirs = map(as_arrays, (ours, theirs))
    share = ROUNDING[model.compute_dtype]
    allowed = [share * np.linalg.norm(each) + 1e-9 for each in theirs]
    if beyond(ours, theirs, allowed):
        signs = [
            rng.choice([-1, 1], each.shape).astype("int8") for each in ours
        ]
        for found in backend.at_once(shaken, trainable, signs, *rest):
            for index, each in enumerate(as_arrays(found)):
                allowed[index] += np.linalg.norm(each - theirs[index])
    variables = model.trainable_variables
    return [variables[i].path for i in beyond(ours, theirs, allowed)]


def takes_any_batch(model) -> bool:
    """Whether no size of a batch was given for the inputs of a model."""
    return not is_graph(model) or all(
        spec.shape[0] is None for spec in model.inputs
    )


def among_others(array):
    """An example (1, ...) as the second of three, of unlike values."""
    if array is None:
        return None
    turned = np.roll(array, 1, axis=-1) if array.ndim > 1 else array
    if "float" in str(array.dtype):
        before, after = 1.7 * array + 0.1, 0.3 * turned
        others = [before.astype(array.dtype), array, after.astype(array.dtype)]
        return np.concatenate(others, axis=0)
    return np.concatenate([turned, array, turned], axis=0)


def beyond(ours, theirs, allowed) -> list[int]:
    """Which gradients are further apart than is allowed.

    What is not finite adds nothing, whatever it is.
    """
    return [
        index
        for index, (one, other) in enumerate(zip(ours, theirs, strict=True))
        if np.all(np.isfinite(other))
        and not np.linalg.norm(one - other) <= allowed[index]
    ]


def as_arrays(tensors) -> list:
    """Tensors in NumPy, in double precision."""
    return [
        np.asarray(ops.convert_to_numpy(ops.cast(t, "float32")), "float64")
        for t in tensors
    ]


def moved(variable, rng):
    """Other values for a variable, about as large as its own."""
    value = np.array(ops.convert_to_numpy(variable.value))
    noise = rng.normal(size=value.shape) * (0.1 * np.std(value) + 0.01)
    return ops.convert_to_tensor((value + noise).astype(value.dtype))


def as_array(value):
    """An array or tensor in NumPy."""
    if ops.is_tensor(value):
        return ops.convert_to_numpy(value)
    return None if value is None else np.asarray(value)


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
