"""The sample that starts a pass, and the weights of a model."""

import inspect

import keras
import numpy as np
from keras import ops

from tfdeep.graph.trace import ends, input_shape_of
from tfdeep.initializers.auto_init.signal import Signal, measure
from tfdeep.initializers.auto_init.tensors import to_numpy
from tfdeep.initializers.kinds import check_kind, is_text, kind_of
from tfdeep.initializers.processes import of_first
from tfdeep.keras_internals import layers_of

# How many numbers of an input are sampled: of images and sequences fewer, as
# each of their positions becomes many channels.
VALUES, OF_VECTORS = 2**19, 2**21
UNKNOWN_SIZE = 32


def arrays(x):
    """NumPy arrays of data: an array, a list or dict of them, or a data set."""
    if hasattr(x, "take") and hasattr(x, "element_spec"):
        parts = [_images(batch) for batch in x.take(8).as_numpy_iterator()]
        if not parts:
            raise ValueError(
                "`x` must give at least one batch of inputs. Received: an "
                "empty data set. Check the path and the split it was made "
                "from."
            )
        # Where lengths differ from batch to batch, those of the first count.
        parts = [part for part in parts if _sizes(part) == _sizes(parts[0])]
        x = keras.tree.map_structure(lambda *a: np.concatenate(a), *parts)
    return keras.tree.map_structure(_numbers, x)


def _sizes(part):
    return [np.shape(array)[1:] for array in keras.tree.flatten(part)]


def _numbers(x):
    try:
        array = np.asarray(x)
    except ValueError:  # NumPy's, of parts of different shapes.
        array = np.empty((), "object")
    kind = kind_of(array)
    if kind not in ("numbers", "text") or (kind == "text" and not array.ndim):
        raise TypeError(
            "`x` must be numbers or text in arrays. Received: "
            f"{_said(x, array)}. Pass an array, a list or dict of arrays, or "
            "a tf.data.Dataset."
        )
    return array


def _said(x, array) -> str:
    if is_text(array):
        return "a single text"
    return f"a {type(x).__name__} of dtype {array.dtype}"


def moments(array) -> tuple[float, float]:
    """Mean and variance; text has none and counts as 0 and 1."""
    if is_text(array):
        return 0.0, 1.0
    values = np.asarray(array, "float64")
    return float(values.mean()), float(values.var()) or 1.0


def _images(batch):
    return batch[0] if isinstance(batch, tuple) else batch


def sample(model, means, variances, data, seed, largest=256, ids=None):
    """A batch of at most `largest` inputs and the signal of each.

    Of random inputs, those in `ids` are integers below what it says.

    Returns:
        `(inputs, signals)`: the structure that the model takes, and a list.
    """
    structure = structure_of(model)
    specs = keras.tree.flatten(structure)
    shapes = [_shape(spec)[1:] for spec in specs]
    size = max(int(np.prod(shape)) for shape in shapes)
    most = OF_VECTORS if max(map(len, shapes)) < 2 else VALUES
    fixed = [spec.shape[0] for spec in specs if spec.shape[0] is not None]
    batch = min(fixed, default=int(np.clip(most // size, 4, largest)))
    rng = np.random.default_rng(seed)
    if data is not None:
        data = in_order(data, structure)
        variable = first_variable(model)
        values, signals = _from_data(specs, data, batch, rng, variable)
        return keras.tree.pack_sequence_as(structure, values), signals
    means, variances = (
        _each(in_order(v, structure), specs) for v in (means, variances)
    )
    values, signals = [], []
    for index, spec in enumerate(specs):
        shape = (batch, *_shape(spec)[1:])
        dtype = keras.backend.standardize_dtype(spec.dtype)
        if dtype == "string":
            raise ValueError(
                f"Input '{spec.name}' takes text. No sample can be made up "
                "for it. Take it from data: AutoInit.from_data(x)."
            )
        size = (ids or {}).get(index)
        if size or "int" in dtype or dtype == "bool":
            x = rng.integers(0, size or _vocabulary(model), shape).astype(dtype)
            signal = measure(x)
        else:
            x, signal = _normal(rng, shape, means[index], variances[index])
        values.append(x)
        signals.append(signal)
    return keras.tree.pack_sequence_as(structure, values), signals


def _normal(rng, shape, mean, variance):
    """Values of exactly this mean and variance, and their signal."""
    x = rng.standard_normal(shape)
    x = (x - x.mean()) / x.std() if x.size > 1 else x
    second = np.full((1,) * len(shape), mean**2 + variance)
    signal = Signal(float(mean), second, gaussian=mean == 0)
    return (mean + x * variance**0.5).astype("float32"), signal


def structure_of(model):
    """The symbolic inputs as the model takes them: one, a list or a dict.

    A hand-written model knows the shapes that it was built for.

    Raises:
        ValueError: if it is not built, takes several arguments, or could not
            be called symbolically when Keras built it.
    """
    if getattr(model, "inputs", None):
        return ends(model)[0]
    if not (model.built and model.weights):
        raise ValueError(
            "The weights and inputs of a model must exist. Received: model "
            f"'{model.name}' without known inputs. Give it an Input, or call "
            "it once on data."
        )
    # Keras knows no shape where its own symbolic call has failed.
    shapes = input_shape_of(model)
    if shapes is None or not _takes_one(model):
        raise ValueError(
            f"A model must take symbolic tensors. Received: '{model.name}', "
            "which is hand-written and does not. Use keras.ops in its `call`, "
            "and one argument for all inputs."
        )
    # Keras keeps a list of a kind of its own, which JAX does not take.
    shapes = list(shapes) if isinstance(shapes, list) else shapes
    return keras.tree.map_shape_structure(
        lambda shape: keras.Input(shape[1:]), shapes
    )


def _takes_one(model) -> bool:
    """Whether the model can be called with one argument."""
    try:
        inspect.signature(model.call).bind(None)
    except TypeError:
        return False
    return True


def first_variable(model):
    """A variable by which processes know that they train together."""
    return next(iter(model.variables), None)


def in_order(values, structure) -> list:
    """One value for each input: by name in a dict, else as they come."""
    if not isinstance(values, dict):
        return keras.tree.flatten(values)
    named = isinstance(structure, dict)
    specs = [] if named else keras.tree.flatten(structure)
    names = list(structure) if named else [spec.name for spec in specs]
    if not set(names) <= set(values):
        came, wanted = (", ".join(map(repr, n)) for n in (values, names))
        raise ValueError(
            f"A dict must have the inputs of the model, {wanted}. Received: "
            f"{came}. Give each by its name."
        )
    chosen = {name: values[name] for name in names}
    return keras.tree.flatten(chosen if named else list(chosen.values()))


def _from_data(specs, flat, batch, rng, variable):
    if len(flat) != len(specs):
        raise ValueError(
            f"`data` must have an array for each of the {len(specs)} inputs "
            f"of the model. Received: {len(flat)} arrays"
        )
    flat = [
        as_taken(x, spec.shape) for x, spec in zip(flat, specs, strict=True)
    ]
    for array, spec in zip(flat, specs, strict=True):
        _check_array(array, spec)
    if len({len(array) for array in flat}) > 1:
        raise ValueError(
            "`data` must have as many samples for each input. Received: "
            f"{[len(array) for array in flat]} samples. Give one row of each "
            "for every sample."
        )
    chosen = rng.permutation(len(flat[0]))[:batch]
    values, signals = [], []
    for array in flat:
        x = of_first(np.asarray(array)[chosen], variable)
        if is_text(x):
            values.append(ops.convert_to_tensor(x.tolist(), "string"))
            signals.append(Signal(0.0, np.ones((1,) * x.ndim)))
            continue
        values.append(x if "int" in x.dtype.name else x.astype("float32"))
        whole = measure(np.asarray(array))
        mean, q = of_first(np.array([whole.mean, whole.q]), variable)
        signals.append(Signal(float(mean), np.full((1,) * x.ndim, q)))
    return values, signals


def as_taken(array, shape):
    """An array with a column more or less, where a model takes it so.

    Keras' models drop a last axis of size 1, or add one, to get the rank of
    their `Input`.
    """
    rank = len(array.shape)
    if rank == len(shape) + 1 and array.shape[-1] == 1:
        return array[..., 0]
    if rank == len(shape) - 1 and shape[-1] == 1:
        return array[..., None]
    return array


def _check_array(array, spec):
    shape, wanted = np.shape(array), tuple(spec.shape)
    fits = len(shape) == len(wanted) and all(
        size is None or size == given
        for size, given in zip(wanted[1:], shape[1:], strict=True)
    )
    if not fits or not len(array):
        raise ValueError(
            f"`data` must be what the model takes, {wanted}. Received: an "
            f"array of shape {shape}. Pass inputs as you pass them to fit."
        )
    array = np.asarray(array)
    check_kind(array, spec)
    if not is_text(array) and not np.all(np.isfinite(array)):
        raise ValueError(
            "`data` must be finite, as its moments do not exist otherwise. "
            "Received: values that are infinite or not a number. Remove them."
        )


def of_unknown_size(model) -> bool:
    """Whether an input has an unknown size besides that of the batch."""
    return any(
        None in spec.shape[1:]
        for spec in keras.tree.flatten(structure_of(model))
    )


def _each(flat, specs):
    if len(flat) == 1:
        flat = flat * len(specs)
    if len(flat) != len(specs):
        raise ValueError(
            "Statistics must be one number, or one for each of the "
            f"{len(specs)} inputs of the model. Received: {len(flat)} of them"
        )
    return flat


def _shape(spec):
    return [UNKNOWN_SIZE if size is None else size for size in spec.shape]


def _vocabulary(model) -> int:
    """The smallest table that integers look up."""
    sizes = [
        layer.input_dim
        for layer in layers_of(model)
        if isinstance(layer, keras.layers.Embedding)
    ]
    return min(sizes, default=2)


class Backup:
    """The values of a model's variables, to be put back."""

    def __init__(self, model):
        self.values = [(v, to_numpy(v).copy()) for v in model.variables]

    def restore(self, keep=()):
        """Put every value back but those of the variables in `keep`."""
        kept = {id(variable) for variable in keep}
        for variable, value in self.values:
            if id(variable) not in kept:
                variable.assign(value)
