"""Layers, inputs and models that are like others, and new."""

import inspect
from typing import Any

import keras
from keras import tree

from tfdeep.graph.trace import calls_between
from tfdeep.inside import is_graph, own_methods
from tfdeep.keras_internals import node_of

# What a model's training is made of, by which its class is needed.
STEPS = ("train_step", "compute_loss", "test_step")


def twin_of(operation: Any, **changes) -> Any:
    """A new layer or operation of the same configuration and name.

    Args:
        operation: the layer or operation.
        **changes: what is another in its configuration, such as `name`.

    Raises:
        ValueError: if it has no configuration from which it can be made.
    """
    if type(operation) is keras.layers.Lambda:
        # From its configuration Keras makes none, for what is in files.
        return keras.layers.Lambda(
            operation.function,
            arguments=operation.arguments,
            dtype=operation.dtype_policy,
            **{"name": operation.name, **changes},
        )
    try:
        return type(operation).from_config(
            {**operation.get_config(), **changes}
        )
    except (NotImplementedError, TypeError) as error:
        kind = type(operation).__name__
        raise ValueError(
            f"Each layer must be such that it can be made from its "
            f"configuration: `{kind}.get_config` has every argument, and "
            f"`{kind}.__init__` takes `**kwargs`. Received: "
            f"{operation.name!r} ({str(error).strip().splitlines()[0]})"
        ) from error


def new_input(
    tensor: keras.KerasTensor, shape: tuple | None = None
) -> keras.KerasTensor:
    """A new input like another, of another shape if one is given."""
    node = node_of(tensor)
    if node is not None and isinstance(node.operation, keras.layers.InputLayer):
        changes = {} if shape is None else {"batch_shape": shape}
        return twin_of(node.operation, **changes).output
    return keras.Input(
        batch_shape=tensor.shape if shape is None else shape,
        dtype=tensor.dtype,
        name=tensor.name,
    )


def other_shapes(inputs: list, before: tuple, after: tuple) -> dict:
    """Where a model is called with other shapes: those of its new inputs.

    Args:
        inputs: the symbolic inputs of the model.
        before: the arguments of the call.
        after: those of the new call.
    """
    found = {}
    before, after = tree.flatten(before), tree.flatten(after)
    for tensor, old, new in zip(inputs, before, after, strict=False):
        sizes = zip(tensor.shape, old.shape, new.shape, strict=True)
        shape = tuple(known if was == now else now for known, was, now in sizes)
        if shape != tuple(tensor.shape):
            found[id(tensor)] = shape
    return found


def of_class(model, inputs, outputs):
    """A model of the class of another, if that is made of a graph."""
    if isinstance(model, keras.Sequential) and type(model) is keras.Sequential:
        result = _sequential(model, inputs, outputs)
        if result is not None:
            return result
    if not is_graph(model) or isinstance(model, keras.Sequential):
        return keras.Model(inputs, outputs, name=model.name)
    if _is_made_from_ends(type(model)):
        return type(model)(inputs, outputs, name=model.name)
    if own_methods(model, *STEPS):
        raise TypeError(
            f"`model` must be of a class that is made from (inputs, outputs, "
            f"name), as keras.Model is, if it has a step of its own. Received: "
            f"model={model.name!r} of type {type(model).__name__}"
        )
    return keras.Model(inputs, outputs, name=model.name)


def _is_made_from_ends(kind: type) -> bool:
    """Whether a class of models is made as `keras.Model` is."""
    signature = inspect.signature(kind)
    try:
        signature.bind("inputs", "outputs", name="name")
    except TypeError:
        return False
    first, *_ = signature.parameters.values()
    return first.kind is first.VAR_POSITIONAL or first.name == "inputs"


def _sequential(model, inputs, outputs):
    """A Sequential model, if the calls are one layer after the other."""
    tensor, layers = inputs, [inputs]
    for call in calls_between(inputs, outputs):
        simple = (
            isinstance(call.operation, keras.Layer)
            and len(call.args) == 1
            and call.args[0] is tensor
            and len(call.outputs) == 1
            and all(
                value is None or name == "training"
                for name, value in call.kwargs.items()
            )
        )
        if not simple or call.operation in layers[1:]:
            return None
        layers.append(call.operation)
        tensor = call.outputs[0]
    begin = keras.Input(batch_shape=inputs.shape, dtype=inputs.dtype)
    return keras.Sequential([begin, *layers[1:]], name=model.name)
