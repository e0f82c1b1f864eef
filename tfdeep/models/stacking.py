"""A model with repeated layers, as one of plain layers, and back."""

import keras

from tfdeep.graph import Edited, rewrite
from tfdeep.graph.runs import runs_of_equal_layers
from tfdeep.inside import is_graph
from tfdeep.keras_internals import layers_of
from tfdeep.layers.copies import copies, values_of_copies
from tfdeep.layers.per_variable import warn_of_optimizer
from tfdeep.layers.repeat import Repeat


def unstack(model: keras.Model) -> keras.Model:
    """A model of plain layers that does what a model with `Repeat` does.

    Each `Repeat` becomes its copies, one after the other, with their weights,
    batch statistics and random streams. What takes single layers, such as
    pruning, inspection or another framework's export, takes this form;
    `stack` is the way back. A compiled model stays compiled, with what its
    optimizer keeps for each weight.

    Args:
        model: a built Functional or Sequential model; models inside it are
            converted too. It stays as it is.

    Returns:
        A new model.

    Raises:
        TypeError: for another kind of model.
        ValueError: if a block was changed by hand, a `Repeat` is inside a
            layer that is no model, or the new model would be too deep for
            Keras.

    Example:
        >>> import keras, tfdeep
        >>> block = tfdeep.layers.Repeat(keras.layers.Dense(4), 3)
        >>> model = keras.Sequential([keras.Input((4,)), block])
        >>> plain = tfdeep.models.unstack(model)
        >>> len(plain.layers), tuple(plain.layers[2].kernel.shape)
        (3, (4, 4))
    """
    _check_graph(model)
    return rewrite(model, _copied)


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


def _copied(call, args, kwargs):
    """The copies of a `Repeat`, one after the other."""
    layer = call.operation
    if not isinstance(layer, Repeat):
        if any(isinstance(part, Repeat) for part in layers_of(layer)):
            raise ValueError(
                f"Each Repeat must be called by the model itself to be "
                f"converted: take it out of the layer '{layer.name}', or make "
                f"that a model. Received: {layer.name!r} with a Repeat inside"
            )
        return None
    (x,) = args
    kwargs = {
        name: value for name, value in kwargs.items() if value is not None
    }
    layers = copies(layer)
    for each in layers:
        x = each(x, **kwargs)
    weights = [
        (variable, (stack, (copy, *[None] * len(variable.shape))))
        for variable, stack, copy in values_of_copies(layer, layers)
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
