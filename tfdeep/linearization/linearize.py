"""A model whose ReLUs may become linear."""

import glob
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import keras
from keras import tree

from tfdeep.graph import Call, graph_of, rewrite
from tfdeep.graph.insides import Insides
from tfdeep.graph.opening import is_composite
from tfdeep.graph.rewrite import Edited
from tfdeep.graph.select import meant
from tfdeep.graph.weight_decay import exclude_from_weight_decay
from tfdeep.graph.write_out import Twins, WriteOut
from tfdeep.inside import is_graph
from tfdeep.keras_internals import layers_of, node_of
from tfdeep.layers.sparse_prelu import SparsePReLU
from tfdeep.linearization.units import Unit, loops, unit_of
from tfdeep.models.stacking import without_repeat

Excluded = Iterable[keras.layers.Layer | str]


def linearize(
    model: keras.Model,
    *,
    strength: float = 0.0,
    power: float = 0.5,
    threshold: float = 0.01,
    exclude: Excluded = (),
) -> keras.Model:
    """A model that computes the same, with a `SparsePReLU` for each ReLU.

    Each ReLU gets units of its own: a layer, an `Activation`, the `activation`
    of a layer with weights, a function of `keras.ops`, and each use of one
    object that is used many times. Leaky ones keep their slope as the start.
    Layers made of layers, such as residual blocks, are written out as the
    layers within them, and a `Repeat` as its copies. One that decides when the
    layer runs that it holds, such as `StochasticDepth`, stays, around a branch
    with units; called twice, it has them once, as a model within has.
    Everything else stays: `tfdeep.linearization.left_alone` lists what is
    nonlinear and no ReLU.

    Weights, names, frozen parts and compilation are those of the model; the
    optimizer keeps what it knows, and lets no slope decay. Train the new model
    with `tfdeep.callbacks.LinearizationScheduler`, or give a `strength` here.

    Reference:
        Mehmeti-Goepel and Disselhoff, "Nonlinear Advantage: Trained Networks
        Might Not Be As Complex as You Think", 2023.

    Args:
        model: a built model; it stays as it is.
        strength: float from 0, the weight of the penalty on nonlinear units.
        power: float above 0, the power of the penalty.
        threshold: float in (0, 1), how close to 1 a slope is linear.
        exclude: layers, paths of calls, or patterns on them such as
            `"stem*"`, whose ReLUs stay; of a model or block all within it,
            in all of its calls.

    Returns:
        A new model, compiled if the model is.

    Raises:
        TypeError: for another kind of model, or of `exclude`.
        ValueError: if the model has no ReLU that is not excluded, something
            in `exclude` is in no call, a number is out of range, or the
            model cannot be rewritten; see `tfdeep.graph.rewrite`.

    Example:
        >>> import keras, tfdeep
        >>> model = keras.Sequential([keras.Input((8,))])
        >>> model.add(keras.layers.Dense(4, "relu", name="hidden"))
        >>> model.add(keras.layers.Dense(3, name="last"))
        >>> new = tfdeep.linearization.linearize(model)
        >>> [layer.name for layer in new.layers]
        ['hidden', 'hidden_unit', 'last']
        >>> new.layers[1].active_units
        4
    """
    settings: dict[str, Any] = {
        "strength": strength,
        "power": power,
        "threshold": threshold,
    }
    SparsePReLU(**settings)  # What is out of range is said now.
    plain = without_repeat(model)
    if plain is not model:
        exclude = _by_path(graph_of(model).calls, exclude)
    graph, insides = graph_of(plain), Insides()
    edit = _Linearizing(settings, insides.every_call(graph.calls), exclude)
    writer = WriteOut(edit.is_inside, edit, edit.twins, insides)
    result = rewrite(graph, writer)
    if not edit.made:
        raise ValueError(
            "`model` must have a ReLU to make linear. Received: "
            f"model={model.name!r}, which has none that is not excluded; "
            "tfdeep.linearization.left_alone lists what is nonlinear"
        )
    if getattr(result, "optimizer", None) is not None:
        slopes = [unit.slopes for unit in edit.made]
        exclude_from_weight_decay(result.optimizer, slopes)
    return result


def left_alone(model: keras.Model) -> dict[str, str]:
    """What is nonlinear in a model and no ReLU that can be made linear.

    Softmax, and what is applied to an output besides ReLUs, is not listed.

    Args:
        model: a built model, before or after `tfdeep.linearization.linearize`.

    Returns:
        What it is, in words, by the path of the call.

    Raises:
        TypeError: if `model` is no `keras.Model`.
        ValueError: if its calls cannot be told.

    Example:
        >>> import keras, tfdeep
        >>> model = keras.Sequential([keras.Input((8,))])
        >>> model.add(keras.layers.Dense(4, "relu6", name="hidden"))
        >>> model.add(keras.layers.Dense(3, "softmax", name="last"))
        >>> tfdeep.linearization.left_alone(model)
        {'hidden': 'relu6'}
    """
    graph = graph_of(without_repeat(model))
    last = {id(tensor) for tensor in tree.flatten(graph.outputs)}
    calls = Insides().every_call(graph.calls)
    opened = {call.path.rpartition("/")[0] for call in calls}
    found = {}
    for call in calls:
        unit = unit_of(call.operation)
        if unit is None:
            if call.path not in opened and hides_units(call.operation):
                kind = type(call.operation).__name__
                found[call.path] = f"inside a {kind}, which stays one call"
            continue
        at_end = any(id(tensor) in last for tensor in call.outputs)
        if not (unit.removable or is_relu(call, unit, 0.01) or at_end):
            found[call.path] = unit.name
    return found


def is_relu(call: Call, unit: Unit | None, threshold: float) -> bool:
    """Whether a unit can be one of a `SparsePReLU`.

    This has slopes below 1 for channels of a known number, not of integers.
    """
    if unit is None or unit.slope is None or unit.slope >= 1 - threshold:
        return False
    tensor = call.outputs[0]
    return (
        "float" in tensor.dtype
        and len(tensor.shape) > 1
        and tensor.shape[channel_axis(tensor)] is not None
    )


def hides_units(operation: Any) -> bool:
    """Whether something within a layer that is one call is nonlinear."""
    if loops(operation):
        return True
    return is_composite(operation) and any(
        unit_of(part) is not None or loops(part)
        for part in layers_of(operation)[1:]
    )


def _excluded(calls: list[Call], exclude: Excluded) -> list[Call]:
    """The calls that are excluded, with all that is within them."""
    if isinstance(exclude, str) or not isinstance(exclude, Iterable):
        raise TypeError(
            "`exclude` must be a list of layers, paths of calls, or patterns. "
            f"Received: exclude={exclude!r}. Put a single one in a list."
        )
    alone = [replace(call, parts=[]) for call in calls]  # All are there.
    named = [call for each in exclude for call in meant(alone, each)]
    # What holds layers, or is in a model, is one thing in all of its calls.
    whole = {id(c.operation) for c in named if is_composite(c.operation)}
    made = {id(c.outputs[0]) for c in named}
    found = {
        c.path
        for c in calls
        if id(c.operation) in whole or id(c.outputs[0]) in made
    }
    return [
        call
        for call in calls
        if call.path in found
        or any(call.path.startswith(f"{path}/") for path in found)
    ]


def _by_path(calls: list[Call], exclude: Excluded) -> Excluded:
    """Layers that are excluded as the paths of their calls.

    In a model that is written out other layers stand for them.
    """
    if isinstance(exclude, str) or not isinstance(exclude, Iterable):
        return exclude  # It is refused later.
    found: list = []
    for each in exclude:
        paths = [
            c.path for c in Insides().every_call(calls) if c.operation is each
        ]
        found.extend(map(glob.escape, paths) if paths else [each])
    return found


class _Linearizing:
    """The edit that puts a `SparsePReLU` in the place of a ReLU.

    Args:
        settings: the arguments of the new layers.
        calls: all calls of the model, and within its layers.
        exclude: as of `linearize`.

    Attributes:
        made: the new layers.
        twins: layers without the activation that they had.
    """

    def __init__(self, settings: dict, calls: list[Call], exclude: Excluded):
        self.settings = settings
        excluded = _excluded(calls, exclude)
        self.excluded = {call.path for call in excluded}
        # A layer has its activation, and its name, in all of its calls.
        self.kept = {id(call.operation) for call in excluded}
        self.relus = [c.path for c in calls if self._is_relu(c)]
        self.twins = Twins(call.operation.name for call in calls)
        self.made: list[SparsePReLU] = []

    def _is_relu(self, call: Call) -> bool:
        unit = unit_of(call.operation)
        if not is_relu(call, unit, self.settings["threshold"]):
            return False
        if unit and unit.fused:
            return id(call.operation) not in self.kept
        return call.path not in self.excluded

    def is_inside(self, call: Call) -> bool:
        """Whether there is a ReLU within the layer of a call."""
        return any(path.startswith(f"{call.path}/") for path in self.relus)

    def __call__(self, call: Call, args: tuple, kwargs: dict):
        unit = unit_of(call.operation)
        if unit is None or not self._is_relu(call):
            return None
        if not unit.fused:
            name = self.twins.name_of(call)
            another = "#" in call.path or id(call.operation) in self.kept
            if another and not self.twins.owners:
                name = self.twins.new_name(name)
            return self._unit(call, unit, name, args[0])(args[0])
        twin = self.twins.called(call, args, kwargs, activation="linear")
        name = self.twins.new_name(
            f"{node_of(twin.outputs).operation.name}_unit"
        )
        layer = self._unit(call, unit, name, twin.outputs)
        return Edited(layer(twin.outputs), twin.weights)

    def _unit(self, call: Call, unit: Unit, name: str, tensor: Any):
        """A new layer in the place of a ReLU."""
        rank, axis = len(tensor.shape), channel_axis(tensor)
        shared = [each for each in range(1, rank) if each != axis]
        last = axis == rank - 1
        layer = SparsePReLU(
            **self.settings,
            negative_slope=unit.slope or 0.0,
            shared_axes="spatial" if last else shared,
            name=name,
            dtype=_policy(call.operation, tensor),
        )
        owners = [call, *self.twins.owners[::-1]]
        layers = [each.operation for each in owners]
        layer.trainable = next(
            each.trainable
            for each in [*layers, layer]
            if isinstance(each, keras.layers.Layer)
        )
        self.made.append(layer)
        return layer


def _policy(operation: Any, tensor: keras.KerasTensor) -> Any:
    """The dtype policy of a unit: that of the layer that it was in."""
    quantized = getattr(operation, "quantization_mode", None)
    if isinstance(operation, keras.layers.Layer) and not quantized:
        return operation.dtype_policy
    half = tensor.dtype in ("float16", "bfloat16")
    return f"mixed_{tensor.dtype}" if half else tensor.dtype


def channel_axis(tensor: keras.KerasTensor) -> int:
    """The axis of the channels, as the nearest layer before has it."""
    rank = len(tensor.shape)
    while (node := node_of(tensor)) is not None:
        layer = node.operation
        if isinstance(layer, keras.layers.BatchNormalization):
            return layer.axis % rank
        if getattr(layer, "data_format", None) and rank > 2:
            first = layer.data_format == "channels_first"
            return 1 if first else rank - 1
        before = [t for t in node.input_tensors if len(t.shape) == rank]
        if is_graph(layer):
            before = [layer.outputs[0]]
        if not before:
            break
        tensor = before[0]
    return rank - 1
