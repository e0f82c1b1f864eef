"""A model with repeated layers, as one of plain layers, and back."""

import keras

from tfdeep.graph import Edited, rewrite
from tfdeep.graph.runs import runs_of_equal_layers
from tfdeep.graph.write_out import WriteOut, as_asked
from tfdeep.inside import is_graph
from tfdeep.keras_internals import layers_of
from tfdeep.layers.copies import copies, values_of_copies
from tfdeep.layers.per_variable import warn_of_optimizer
from tfdeep.layers.repeat import Repeat


def unstack(model: keras.Model) -> keras.Model:
    """A model of plain layers that does what a model with `Repeat` does.

    Each `Repeat` becomes its copies, one after the other, with their weights,
    batch statistics and random streams; a layer that holds one is written out
    as the layers within it, or is put around the copies. What takes single
    layers, such as pruning, inspection or another framework's export, takes
    this form; `stack` is the way back. A compiled model stays compiled, with
    what its optimizer keeps for each weight.

    Args:
        model: a built Functional or Sequential model; models inside it are
            converted too. It stays as it is.

    Returns:
        A new model.

    Raises:
        TypeError: for another kind of model.
        ValueError: if a block was changed by hand, a `Repeat` is inside a
            layer that cannot be written out, or the new model would be too
            deep for Keras.

    Example:
        >>> import keras, tfdeep
        >>> block = tfdeep.layers.Repeat(keras.layers.Dense(4), 3)
        >>> model = keras.Sequential([keras.Input((4,)), block])
        >>> plain = tfdeep.models.unstack(model)
        >>> len(plain.layers), tuple(plain.layers[2].kernel.shape)
        (3, (4, 4))
    """
    _check_graph(model)
    result = rewrite(model, WriteOut(_holds_repeat, _Copying()))
    if not _holds_repeat(result):
        return result
    names = [x.name for x in layers_of(model) if isinstance(x, Repeat)]
    again = [x.name for x in layers_of(result) if isinstance(x, Repeat)]
    if names == again:
        raise ValueError(
            "Each Repeat must be called by the model, or by layers that can "
            "be written out as the layers within them, to be converted. "
            f"Received: model={model.name!r}, which holds {', '.join(again)}. "
            "Call it in the model itself, or make a model of what is around it"
        )
    return unstack(result)  # What was within another Repeat.


def without_repeat(model: keras.Model) -> keras.Model:
    """The model itself, or one with plain layers where it holds a `Repeat`."""
    if not (isinstance(model, keras.Model) and _holds_repeat(model)):
        return model
    return unstack(model if is_graph(model) else rewrite(model))


def stack(model: keras.Model) -> keras.Model:
    """A model in which equal layers in a row have become a `Repeat`.

    Layers are equal if their configurations are, but for names, seeds and
    survival probabilities. They must have weights, keep the shape of their
    input and be called once each, and nothing else may take what is between
    them. Weights, batch statistics and random streams are those of the model;
    a compiled model stays compiled, with what its optimizer keeps for each
    weight. Optimizers that take a variable as a whole (`clipnorm`, Lamb,
    Adafactor, Muon) train the new model otherwise, of which a warning tells.

    Args:
        model: a built Functional or Sequential model; models inside it are
            converted too. It stays as it is.

    Returns:
        A new model, a copy if there is nothing to stack.

    Raises:
        TypeError: for another kind of model.
        ValueError: if one of the layers was changed by hand.

    Example:
        >>> import keras, tfdeep
        >>> model = keras.Sequential(
        ...     [keras.Input((4,))] + [keras.layers.Dense(4) for _ in "123"]
        ... )
        >>> stacked = tfdeep.models.stack(model)
        >>> len(stacked.layers), stacked.count_params()
        (1, 60)
    """
    _check_graph(model)
    result = rewrite(model, _Stacking(model))
    if model.compiled:
        warn_of_optimizer(result, model.optimizer)
    return result


def _holds_repeat(holder) -> bool:
    """Whether a model holds a `Repeat`, or the layer of a call."""
    layer = getattr(holder, "operation", holder)
    return isinstance(layer, keras.Layer) and any(
        isinstance(part, Repeat) for part in layers_of(layer)
    )


class _Copying:
    """The edit that puts copies in the place of a `Repeat`."""

    def __init__(self):
        self.copies: dict[int, tuple] = {}  # By the `id` of the `Repeat`.

    def __call__(self, call, args, kwargs):
        repeat = call.operation
        if not isinstance(repeat, Repeat):
            return None
        (x,) = args
        kwargs = as_asked(kwargs)
        if id(repeat) not in self.copies:
            self.copies[id(repeat)] = (repeat, copies(repeat))
        _, layers = self.copies[id(repeat)]
        for each in layers:
            x = each(x, **kwargs)
        weights = [
            (variable, (stack, (copy, *[None] * len(variable.shape))))
            for variable, stack, copy in values_of_copies(repeat, layers)
        ]
        return Edited(x, weights)


class _Stacking:
    """The edit that makes a `Repeat` of the first layer of each run.

    Args:
        model: the model that is rewritten.
    """

    def __init__(self, model: keras.Model):
        graphs = [each for each in layers_of(model) if is_graph(each)]
        runs = [run for each in graphs for run in runs_of_equal_layers(each)]
        self.runs = {id(run[0]): run for run in runs}
        self.others = {id(layer) for run in runs for layer in run[1:]}

    def __call__(self, call, args, kwargs):
        if id(call.operation) in self.others:
            return args[0]
        run = self.runs.get(id(call.operation))
        if run is None:
            return None
        first = run[0]
        survival = [
            layer.get_config().get("survival_probability", 1.0) for layer in run
        ]
        repeat = Repeat(
            first,
            len(run),
            survival if min(survival) < 1.0 else None,
            name=f"{first.name}_x{len(run)}",
        )
        outputs = repeat(args[0])
        repeat.trainable = first.trainable
        rows: dict[int, tuple] = {}
        for variable, stack, _ in values_of_copies(repeat, run):
            rows.setdefault(id(stack), (stack, []))[1].append(variable)
        # Blocks that always run have no random stream to decide with.
        whole = [
            (s, found) for s, found in rows.values() if len(found) == len(run)
        ]
        return Edited(outputs, whole)


def _check_graph(model) -> None:
    if not is_graph(model):
        raise TypeError(
            "`model` must be a Functional or Sequential model with known "
            "inputs: give it an Input, or wrap it, keras.Model(x, model(x)) "
            f"with x = keras.Input(...). Received: model={model!r} of type "
            f"{type(model).__name__}"
        )
