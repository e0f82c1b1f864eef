"""Whether a model can be trained privately: by rule, and by trial."""

import functools
import inspect

import keras
import numpy as np
from keras import ops, tree

from tfdeep.graph import Edited, rewrite
from tfdeep.inside import is_graph
from tfdeep.privacy.per_example.purity import NotPrivateError
from tfdeep.privacy.private_model import PrivateModel
from tfdeep.privacy.refusals import check_refused


def validate(model: keras.Model, batch=None, rtol: float = 1e-3) -> None:
    """Raise unless no example can act on the gradient of another.

    By rule, layers that are known to mix examples are refused. By trial, if
    there is a batch: one example after the other is exchanged, and the norm
    of no other example's gradient may move. That finds what no rule knows of:
    a layer, a loss or a subclass of anybody's. Dropout does not disturb it,
    as both runs draw the same numbers.

    Args:
        model: a `keras.Model`, or a compiled `PrivateModel`.
        batch: `(x, y)` or `(x, y, sample_weight)` of at least two examples,
            to be used with a compiled `PrivateModel`.
        rtol: float, by how much a norm may move by rounding.

    Raises:
        NotPrivateError: if it finds something, with reason and replacement.
        ValueError: if the batch cannot be tried.

    Example:
        >>> import keras, numpy as np, tfdeep
        >>> net = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
        >>> model = tfdeep.privacy.PrivateModel(net)
        >>> model.compile("sgd", "mse")
        >>> x, y = np.eye(4, dtype="float32"), np.ones((4, 2))
        >>> tfdeep.privacy.validate(model, (x, y))
    """
    private = isinstance(model, PrivateModel)
    check_refused(model.base if private else model)
    if batch is None:
        return
    if not private or not model.compiled:
        raise ValueError(
            "`model` must be a compiled PrivateModel where a batch is given: "
            "a trial needs the loss of an example. Received: "
            f"model={type(model).__name__}"
        )
    x, y, weight = keras.utils.unpack_x_y_sample_weight(batch)
    rows = tree.flatten(x)[0].shape[0]
    if rows < 2:
        raise ValueError(
            "`batch` must have two examples or more, to isolate one from "
            "another. Received: one example"
        )
    _try(model, x, y, weight, rows, rtol)


def _try(model, x, y, weight, rows, rtol):
    """Exchange each example by another, and compare the others' norms."""
    before = _norms(model, x, y, weight)
    for index in range(rows):
        other = tree.map_structure(lambda t, i=index: _exchanged(t, i), x)
        after = _norms(model, other, y, weight)
        rest = np.arange(rows) != index
        close = np.isclose(before, after, rtol, rtol * before.max())
        moved = np.flatnonzero(rest & ~close)
        if moved.size:
            raise NotPrivateError(
                f"Example {index} was exchanged, and the norm of the gradient "
                f"of example {moved[0]} moved from {before[moved[0]]:.6g} to "
                f"{after[moved[0]]:.6g}. Something in the model mixes examples, "
                "which no clip can bound. Look for means over the batch axis."
            )


def _norms(model, x, y, weight):
    """Norms before the clip; the streams are left where they were."""
    streams = [
        v for v in model.non_trainable_variables if "seed" in v.path.lower()
    ]
    kept = [ops.convert_to_numpy(v.value) for v in streams]
    norms = ops.convert_to_numpy(model.per_example_norms(x, y, weight))
    for variable, value in zip(streams, kept, strict=True):
        variable.assign(value)
    return np.array(norms, "float64")


def _exchanged(tensor, index):
    """The batch with another example at `index`: that before it, negated."""
    array = np.array(ops.convert_to_numpy(tensor))
    other = array[index - 1]
    array[index] = other if array.dtype.kind in "iub" else -2.0 * other + 0.5
    return array


def replace_batch_norm(model: keras.Model, groups: int = 16) -> keras.Model:
    """A copy of a model with GroupNormalization for BatchNormalization.

    All other weights are those of the model, and what is frozen stays so. Gain
    and bias are kept, with what initialises, penalises or bounds them; moving
    statistics are dropped.

    Args:
        model: a Functional or Sequential model.
        groups: integer, how many groups of channels; the largest divisor of
            the channels that is no larger is taken.

    Returns:
        The new model.

    Raises:
        ValueError: if the model is written by hand, or a layer within a layer
            is a BatchNormalization.

    Example:
        >>> import keras, tfdeep
        >>> net = keras.Sequential([keras.Input((4, 4, 6))])
        >>> net.add(keras.layers.BatchNormalization())
        >>> new = tfdeep.privacy.replace_batch_norm(net, groups=4)
        >>> type(new.layers[0]).__name__, new.layers[0].groups
        ('GroupNormalization', 3)
    """
    if not is_graph(model):
        raise ValueError(
            "The model must be made from inputs and outputs, so that its "
            f"layers can be exchanged from outside. Received: {model.name!r}, "
            "which is hand-written. Put GroupNormalization into its code."
        )
    result = rewrite(model, functools.partial(_replaced, groups))
    check_refused(result)
    return result


def _replaced(groups: int, call, args, kwargs):
    """GroupNormalization in the place of a BatchNormalization."""
    layer = call.operation
    if not isinstance(layer, keras.layers.BatchNormalization):
        return None
    channels = layer.moving_mean.shape[0]
    kind = keras.layers.GroupNormalization
    taken = inspect.signature(kind).parameters
    config = {k: v for k, v in layer.get_config().items() if k in taken}
    names = ("name", "dtype", "trainable")
    config.update({name: layer.get_config()[name] for name in names})
    fitting = max(n for n in range(1, groups + 1) if channels % n == 0)
    new = kind.from_config({**config, "groups": fitting})
    outputs = new(*args)  # The other one alone takes a mask.
    weights = [
        (getattr(new, name), getattr(layer, name))
        for name in ("gamma", "beta")
        if getattr(new, name, None) is not None
    ]
    return Edited(outputs, weights)
