"""A model with repeated layers, as one of plain layers, and back."""

import keras
from keras import ops

from tfdeep.inside import is_graph
from tfdeep.keras_internals import layers_of
from tfdeep.layers.copies import copies, load_copies
from tfdeep.layers.per_variable import warn_of_optimizer
from tfdeep.layers.repeat import Repeat
from tfdeep.models.equal_layers import runs_of_equal_layers


def unstack(model: keras.Model) -> keras.Model:
    """A model of plain layers that does what a model with `Repeat` does.

    Each `Repeat` becomes its copies, one after the other, with their weights,
    batch statistics and random streams. What takes single layers, such as
    pruning, inspection or another framework's export, takes this form;
    `stack` is the way back. A compiled model stays compiled, its optimizer
    begins anew.

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
    return _rebuilt(model, _unstacking)


def stack(model: keras.Model) -> keras.Model:
    """A model in which equal layers in a row have become a `Repeat`.

    Layers are equal if their configurations are, but for names, seeds and
    survival probabilities. They must have weights, keep the shape of their
    input and be called once each, and nothing else may take what is between
    them. Weights, batch statistics and random streams are those of the model;
    a compiled model stays compiled, its optimizer begins anew. Optimizers that
    take a variable as a whole (`clipnorm`, Lamb, Adafactor, Muon) train the
    new model otherwise, of which a warning tells.

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
    result = _rebuilt(model, _stacking)
    if model.compiled:
        warn_of_optimizer(result, model.optimizer)
    return result


def _unstacking(model) -> dict:
    """What stands for each `Repeat` of a model: its copies."""
    for layer in model.layers:
        if isinstance(layer, (Repeat, keras.Model)):
            continue
        if any(isinstance(part, Repeat) for part in layers_of(layer)):
            raise ValueError(
                f"The layer '{layer.name}' came with a Repeat inside. Only "
                "those that the model calls itself can be converted. Take it "
                "out of the layer, or make the layer a model."
            )
    return {
        id(layer): copies(layer)
        for layer in model.layers
        if isinstance(layer, Repeat)
    }


def _stacking(model) -> dict:
    """What stands for the layers of each run: a `Repeat`, then nothing."""
    plan: dict = {}
    for run in runs_of_equal_layers(model):
        first, *others = run
        configs = [layer.get_config() for layer in run]
        survival = [c.get("survival_probability", 1.0) for c in configs]
        repeat = Repeat(
            first,
            len(run),
            survival if min(survival) < 1.0 else None,
            name=f"{first.name}_x{len(run)}",
        )
        repeat.build(tuple(first.input.shape))
        repeat.trainable = first.trainable
        load_copies(repeat, run)
        plan[id(first)] = [repeat]
        plan.update((id(layer), []) for layer in others)
    return plan


def _rebuilt(model, plan_of):
    """A new model with what a plan says in place of some layers."""
    if not is_graph(model):
        raise TypeError(
            f"`model` came as {type(model).__name__}. It must be a Functional "
            "or Sequential model with known inputs. Give it an Input, or wrap "
            "it: keras.Model(x, model(x)) with x = keras.Input(...)."
        )
    plan = plan_of(model)
    inner = {
        id(layer): _rebuilt(layer, plan_of)
        for layer in model.layers
        if is_graph(layer)
    }
    twins: list = []

    def new(layer):
        if id(layer) in inner:
            return inner[id(layer)]
        twin = type(layer).from_config(layer.get_config())
        if isinstance(layer, keras.Layer):  # Not an operation of `keras.ops`.
            twins.append((layer, twin))
        return twin

    try:
        if isinstance(model, keras.Sequential):
            result = _sequential(model, plan, new)
        else:
            result = _functional(model, plan, new)
    except RecursionError as error:
        raise ValueError(
            f"The model '{model.name}' came with more layers than Keras walks "
            "through, which it does by recursion. Raise the limit with "
            "sys.setrecursionlimit, or keep it stacked."
        ) from error
    for old, twin in twins:
        pairs = zip(twin.variables, old.variables, strict=True)
        for target, source in pairs:
            # JAX gives the memory of weights away when a model trains.
            target.assign(ops.copy(source.value))
    return result


def _sequential(model, plan, new):
    (inputs,) = model.inputs
    layers = [keras.Input(batch_shape=inputs.shape, dtype=inputs.dtype)]
    for layer in model.layers:
        layers += plan[id(layer)] if id(layer) in plan else [new(layer)]
    result = keras.Sequential(layers, name=model.name)
    if model.compiled:
        result.compile_from_config(model.get_compile_config())
    return result


def _functional(model, plan, new):
    stand_ins: dict = {}

    def clone(layer):
        if id(layer) not in plan:
            return new(layer)
        stand_in = keras.layers.Identity()
        stand_ins[id(stand_in)] = (stand_in, plan[id(layer)])
        return stand_in

    def call(layer, *args, **kwargs):
        if id(layer) not in stand_ins:
            return layer(*args, **kwargs)
        (x,) = args
        kwargs = {name: v for name, v in kwargs.items() if v is not None}
        for part in stand_ins[id(layer)][1]:
            x = part(x, **kwargs)
        return x

    return keras.models.clone_model(
        model, clone_function=clone, call_function=call
    )
