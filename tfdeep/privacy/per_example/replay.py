"""A model as a list of steps, run with marks at what has weights.

The calls of a Functional or Sequential model are known; a model written by
hand, or a layer made of layers, is called once with symbolic tensors to learn
them. Steps with trainable weights run by their rule, all others as they are.
"""

from dataclasses import dataclass, field
from typing import Any

import keras
from keras import ops, tree

from tfdeep.graph.opening import (
    CannotOpen,
    open_call,
    takes_training,
)
from tfdeep.graph.trace import Call
from tfdeep.inside import is_graph
from tfdeep.masks import mask_of, with_mask
from tfdeep.privacy.per_example.choice import (
    mapped_rule_for,
    own_variables,
    rule_for,
)
from tfdeep.privacy.per_example.isolation import (
    layer_isolates,
    operation_isolates,
)


@dataclass(eq=False)
class Step:
    """One call, and how it is run.

    Args:
        call: the call.
        rule: the `Rule` of a layer with trainable weights, or `None`.
        parts: the steps within it, where it is opened.
        inside: the symbolic tensors of the parts.
    """

    call: Call
    rule: Any = None
    parts: list["Step"] = field(default_factory=list)
    inside: Any = None


def steps_of(calls: list[Call], trusted: bool = False) -> list[Step]:
    """How each call is run; raises `CannotOpen` if one cannot be.

    Args:
        calls: the calls.
        trusted: whether operations among them are those of a layer that is
            known not to mix examples.
    """
    return [_step(call, trusted) for call in calls]


def _step(call: Call, trusted: bool) -> Step:
    layer = call.operation
    if not isinstance(layer, keras.layers.Layer):
        if not (trusted or operation_isolates(call)):
            raise CannotOpen(call.path)
        return Step(call)
    if not layer.trainable_variables:
        if not layer_isolates(layer, call.rank):
            raise CannotOpen(layer.name)
        return Step(call)
    rule = rule_for(call)
    if rule is not None and (
        rule.vouched_for or layer_isolates(layer, call.rank)
    ):
        return Step(call, rule)
    try:
        return _opened(call)
    except CannotOpen:
        rule = mapped_rule_for(call)
        if rule is None or not layer_isolates(layer, call.rank):
            raise
        return Step(call, rule)


def _opened(call: Call) -> Step:
    layer = call.operation
    if not is_graph(layer) and own_variables(layer):
        raise CannotOpen(layer.name)
    inside = open_call(call)
    trusted = False
    if not is_graph(layer):
        _check_whole(layer, inside.calls)
        trusted = layer_isolates(layer, call.rank)
    return Step(call, None, steps_of(inside.calls, trusted), inside)


def _check_whole(layer, parts: list[Call]) -> None:
    """Raise unless the calls are all that the layer does with its weights."""
    used = {
        id(variable)
        for part in parts
        if isinstance(part.operation, keras.layers.Layer)
        for variable in part.operation.variables
    }
    check_arguments(parts, layer.name)
    if any(id(v) not in used for v in layer.trainable_variables):
        raise CannotOpen(layer.name)


def check_arguments(calls: list[Call], name: str) -> None:
    """Raise if a variable is an argument: it belongs to no call."""
    arguments = tree.flatten([(call.args, call.kwargs) for call in calls])
    if any(isinstance(each, keras.Variable) for each in arguments):
        raise CannotOpen(name)


class Replay:
    """One run of steps with tensors in the place of symbols.

    Args:
        tap: marks a tensor; see `tfdeep.backend.tapped_gradients`.
    """

    def __init__(self, tap):
        self._tap = tap
        self._values: dict[int, Any] = {}
        self.records: list[tuple[Step, list, int]] = []
        self._marks = 0

    def run(self, steps, starts, inputs, results, training):
        """Return what the symbols `results` come to.

        Args:
            steps: the steps, in order.
            starts: symbolic inputs.
            inputs: tensors in their place.
            results: a structure of symbolic outputs.
            training: what a graph tells its layers, `None` where they were
                told when they were called.
        """
        for symbol, tensor in zip(starts, inputs, strict=True):
            self._values[id(symbol)] = tensor
        for step in steps:
            self._run(step, training)
        return tree.map_structure(self._value, results)

    def _value(self, each):
        """The tensor of a symbol; `None` for a mask, which comes by itself."""
        if isinstance(each, keras.KerasTensor):
            return self._values.get(id(each))
        return each

    def _mark(self, tensor):
        self._marks += 1
        return self._tap(tensor)

    def _run(self, step: Step, training) -> None:
        call = step.call
        args, kwargs = tree.map_structure(self._value, (call.args, call.kwargs))
        if training is not None and takes_training(call.operation):
            kwargs["training"] = training
        if step.parts:
            outputs = self._by_parts(step, args, kwargs)
        elif step.rule is not None:
            outputs = self._by_rule(step, args, kwargs)
        else:
            outputs = call.operation(*args, **kwargs)
        for symbol, tensor in zip(
            call.outputs, tree.flatten(outputs), strict=True
        ):
            self._values[id(symbol)] = tensor

    def _by_parts(self, step: Step, args, kwargs):
        inside = step.inside
        tensors = [self._value(each) for each in step.call.inputs]
        if is_graph(step.call.operation):
            # It tells its layers whether it is trained; those of other layers
            # have been told when they were called.
            told = kwargs.get("training", True)
            return self.run(
                step.parts, inside.inputs, tensors, inside.outputs, told
            )
        for symbol, tensor in zip(inside.worn, tensors, strict=True):
            if symbol is not None:
                self._values[id(symbol)] = mask_of(tensor)
        outputs = self.run(
            step.parts, inside.inputs, tensors, inside.outputs, None
        )
        masks = [self._value(mask) for mask in inside.masks]
        return _as_called(step.call.operation, args, outputs, masks)

    def _by_rule(self, step: Step, args, kwargs):
        before = self._marks
        layer = step.call.operation
        if step.rule.runs_alone:
            outputs, kept = step.rule.forward(self._mark, args[0])
            if layer.supports_masking:
                mask = layer.compute_mask(args[0], mask_of(args[0]))
                outputs = with_mask(outputs, mask)
        else:
            outputs, kept = step.rule.forward(self._mark, *args, **kwargs)
        self.records.append((step, kept, self._marks - before))
        return outputs


def _as_called(layer, args, outputs: list, masks: list) -> list:
    """Outputs with the masks that Keras attaches when a layer is called."""
    if layer.supports_masking and args and any(each is None for each in masks):
        before = tree.map_structure(mask_of, args[0])
        found = tree.flatten(layer.compute_mask(args[0], before))
        found += [None] * (len(masks) - len(found))
        masks = [
            new if old is None else old
            for old, new in zip(masks, found, strict=True)
        ]
    return [
        with_mask(output, mask)
        for output, mask in zip(outputs, masks, strict=True)
    ]


def as_started(symbols: list, tensors: list) -> list:
    """Inputs as a Functional model takes them: their dtype, their rank."""
    found = []
    for symbol, tensor in zip(symbols, tensors, strict=True):
        tensor = ops.cast(tensor, symbol.dtype)
        if len(tensor.shape) == len(symbol.shape) - 1:
            tensor = ops.expand_dims(tensor, -1)
        found.append(tensor)
    return found
