"""A model as a list of steps, run with marks at what has weights.

The calls of a Functional or Sequential model are known; a model written by
hand, or a layer made of layers, is called once with symbolic tensors to learn
them. Steps with trainable weights run by their rule, all others as they are.
"""

import inspect
from dataclasses import dataclass, field
from typing import Any

import keras
from keras import ops, tree

from tfdeep.graph.trace import Call, calls_between, ends
from tfdeep.inside import Reads, is_graph
from tfdeep.masks import mask_of, stand_in, with_mask
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
        starts: the symbolic inputs of the parts.
        results: the symbolic outputs of the parts.
        worn: the symbolic masks of these inputs, `None` where there is none.
        masks: the same of the outputs.
    """

    call: Call
    rule: Any = None
    parts: list["Step"] = field(default_factory=list)
    starts: list = field(default_factory=list)
    results: list = field(default_factory=list)
    worn: list = field(default_factory=list)
    masks: list = field(default_factory=list)


class CannotOpen(Exception):
    """Raised where the layers within a layer cannot be told apart."""


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
    if is_graph(layer):
        starts, results = ends(layer)
        starts, results = tree.flatten(starts), tree.flatten(results)
        if len(starts) != len(call.inputs):
            raise CannotOpen(layer.name)
        return Step(call, None, steps_of(call.parts), starts, results)
    if own_variables(layer):
        raise CannotOpen(layer.name)
    symbols = {id(each): stand_in(each) for each in call.inputs}
    inputs = [symbols[id(each)] for each in call.inputs]
    worn = [mask_of(each) for each in inputs]  # A layer may take them off.
    args, kwargs = _handed_on(layer, call, symbols)
    outputs = tree.flatten(opened(layer, args, kwargs))
    begins = [*inputs, *filter(is_symbol, worn)]
    masks = [mask_of(each) for each in outputs]
    parts = calls_between(
        begins, [*outputs, *filter(is_symbol, masks)], f"{call.path}/"
    )
    _check_whole(layer, parts, outputs)
    steps = steps_of(parts, trusted=layer_isolates(layer, call.rank))
    return Step(call, None, steps, inputs, outputs, worn, masks)


def _handed_on(layer, call: Call, symbols: dict) -> tuple:
    """The arguments of a call, with the masks that Keras would hand on.

    Keras gives a layer the masks of its inputs, `mask` of a single one and
    `name_mask` of an argument `name`, when it is called; its `call` alone sees
    none.

    Args:
        layer: the layer.
        call: its call.
        symbols: what stands in for its inputs, by their identity.
    """
    known = {id(mask_of(each)) for each in call.inputs}
    given = {
        name: value
        for name, value in call.kwargs.items()
        if not (name.endswith("mask") and id(value) in known)
    }
    args, kwargs = tree.map_structure(
        lambda each: symbols.get(id(each), each), (call.args, given)
    )
    signature = inspect.signature(layer.call)
    try:
        arguments = signature.bind(*args, **kwargs).arguments
    except TypeError as error:
        raise CannotOpen(layer.name) from error
    tensors = {
        name: value
        for name, value in arguments.items()
        if any(map(is_symbol, tree.flatten(value)))
    }
    for name, value in tensors.items():
        argument = "mask" if len(tensors) == 1 else f"{name}_mask"
        if argument in signature.parameters and kwargs.get(argument) is None:
            masks = tree.map_structure(mask_of, value)
            if any(map(is_symbol, tree.flatten(masks))):
                kwargs[argument] = masks
    return args, kwargs


class _Opener(keras.layers.Layer):
    """Calls the insides of a layer with symbols, as if it were trained."""

    def __init__(self, layer):
        super().__init__(autocast=False)
        self.opened = lambda: layer  # Keras would track it.
        self.built = True
        self.outputs: list = []

    def call(self, *args, training=None, **kwargs):
        raise NotImplementedError  # It never meets a tensor.

    def compute_output_spec(self, *args, training=None, **kwargs):
        layer = self.opened()
        if takes_training(layer):
            kwargs["training"] = training
        # Past `__call__`, which would show one call: that of the layer. What
        # is returned will show one too: that of this layer.
        with Reads() as reads:
            outputs = layer.call(*args, **kwargs)
        if reads.variables:  # By hand: they would be constants from now on.
            raise CannotOpen(layer.name)
        self.outputs = [outputs]
        return tree.map_structure(
            lambda t: keras.KerasTensor(t.shape, t.dtype), outputs
        )


def opened(layer, args, kwargs):
    """The symbolic outputs of a layer, made by the layers within it."""
    kwargs = {"training": True, **kwargs}
    if kwargs["training"] is None:
        kwargs["training"] = True
    opener = _Opener(layer)
    try:
        opener(*args, **kwargs)
    except Exception as error:  # Whatever a layer does with a symbol.
        raise CannotOpen(layer.name) from error
    return opener.outputs[0]


def _check_whole(layer, parts: list[Call], outputs: list) -> None:
    """Raise unless the calls are all that the layer does with its weights."""
    used = {
        id(variable)
        for part in parts
        if isinstance(part.operation, keras.layers.Layer)
        for variable in part.operation.variables
    }
    check_arguments(parts, layer.name)
    if not all(map(is_symbol, outputs)) or any(
        id(v) not in used for v in layer.trainable_variables
    ):
        raise CannotOpen(layer.name)


def check_arguments(calls: list[Call], name: str) -> None:
    """Raise if a variable is an argument: it belongs to no call."""
    arguments = tree.flatten([(call.args, call.kwargs) for call in calls])
    if any(isinstance(each, keras.Variable) for each in arguments):
        raise CannotOpen(name)


def is_symbol(value) -> bool:
    """Whether it is a symbolic tensor."""
    return isinstance(value, keras.KerasTensor)


def takes_training(layer) -> bool:
    """Whether it is a layer whose call has the argument `training`."""
    if not isinstance(layer, keras.layers.Layer):
        return False
    return "training" in inspect.signature(layer.call).parameters


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
        tensors = [self._value(each) for each in step.call.inputs]
        if is_graph(step.call.operation):
            # It tells its layers whether it is trained; those of other layers
            # have been told when they were called.
            told = kwargs.get("training", True)
            return self.run(
                step.parts, step.starts, tensors, step.results, told
            )
        for symbol, tensor in zip(step.worn, tensors, strict=True):
            if symbol is not None:
                self._values[id(symbol)] = mask_of(tensor)
        outputs = self.run(step.parts, step.starts, tensors, step.results, None)
        masks = [self._value(mask) for mask in step.masks]
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
