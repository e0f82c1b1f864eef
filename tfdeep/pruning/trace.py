"""Labels carried through the calls of a model."""

import dataclasses
import re
import warnings
from collections import Counter
from collections.abc import Callable
from typing import Any

import keras
from keras import tree

from tfdeep.graph import Call
from tfdeep.graph.opening import (
    CannotOpen,
    Opened,
    open_call,
    takes_training,
)
from tfdeep.graph.trace import calls_between, ends
from tfdeep.inside import is_graph
from tfdeep.layers import StochasticBlock, StochasticDepth
from tfdeep.pruning.call import ChannelCall, Record, listed
from tfdeep.pruning.labels import Channels
from tfdeep.pruning.registry import rule_for
from tfdeep.pruning.rules.ours import OPENED, TAKEN_OUT

# What makes 0 of 0, whatever else it does.
KEEP_ZERO = (
    "tfdeep.pruning.rules.cuts",
    "tfdeep.pruning.rules.positions",
    "tfdeep.pruning.rules.shapes",
)
KEEP_ZERO_LAYERS = (
    keras.layers.Dropout,
    keras.layers.Identity,
    keras.layers.LeakyReLU,
    keras.layers.ReLU,
)


class Tracer:
    """One walk through a model with labels.

    Args:
        on_unknown: `"freeze"` or `"error"`: what happens where a layer has
            no rule.
        rule_for: function of a layer or operation that gives its rule, or
            `None`.

    Attributes:
        record: what rules have said.
        known: the channels of each symbolic tensor, by its `id`.
        opened: the calls within layers that are opened, by path.
        calls: all calls of single layers and operations, in order; those of
            a model that is called again are there again.
        unknown: the paths of calls without a rule.
        staying: the names of this package's classes that the compact model
            has.
        begins: for an input of a model within, the tensors that it stands for.
        ends: for an output of such a model's call, the tensor within.
        places: the path of the call that makes a tensor, and which output.
        sources: for the output of what makes 0 of 0, its only input.
    """

    def __init__(
        self, on_unknown: str = "freeze", rule_for: Callable = rule_for
    ):
        self.on_unknown = on_unknown
        self.rule_for = rule_for
        self.record = Record()
        self.known: dict[int, Channels | None] = {}
        self.opened: dict[str, Opened] = {}
        self.calls: list[Call] = []
        self.unknown: dict[str, str] = {}
        self.staying: set[str] = set()
        self.begins: dict[int, list] = {}
        self.ends: dict[int, Any] = {}
        self.places: dict[int, tuple[str, int]] = {}
        self.sources: dict[int, Any] = {}
        self._entered: dict[int, tuple[list, list]] = {}

    def run(self, calls: list[Call]) -> None:
        """Give the outputs of calls their channels, one after the other."""
        for call in calls:
            found = self._through(call)
            for number, tensor in enumerate(call.outputs):
                self.known[id(tensor)] = found[number]
                self.places[id(tensor)] = (call.path, number)

    def _through(self, call: Call) -> list:
        layer = call.operation
        if is_graph(layer):
            return self._nested(call)
        if isinstance(layer, StochasticDepth):
            return self._branch(call)
        if isinstance(layer, OPENED):
            return self._inside(call)
        self.calls.append(call)
        self._note_ours(layer)
        asked = ChannelCall(call, self.known, self.record)
        rule = self.rule_for(layer)
        if rule is None:
            self._unknown(asked)
            return [None] * len(call.outputs)
        if rule.__module__ in KEEP_ZERO or isinstance(layer, KEEP_ZERO_LAYERS):
            for tensor in call.outputs:
                self.sources[id(tensor)] = call.inputs[0]
        return listed(rule(asked), len(call.outputs))

    def _note_ours(self, layer) -> None:
        ours = type(layer).__module__.partition(".")[0] == "tfdeep"
        if ours and not isinstance(layer, TAKEN_OUT):
            self.staying.add(type(layer).__name__)

    def _unknown(self, asked: ChannelCall) -> None:
        kind = type(asked.layer).__name__
        if self.on_unknown == "error":
            raise ValueError(
                "Every layer must have a rule of channels with "
                f"on_unknown='error'. Received: {asked.path!r} of class "
                f"{kind}, which has none. Add one with "
                "tfdeep.pruning.channel_rule"
            )
        if any(channels is not None for channels in asked.inputs):
            self.unknown[asked.path] = kind
            asked.freeze_inputs(f"{asked.path} ({kind}) has no rule")

    def _nested(self, call: Call) -> list:
        """A model within the model, which may be called again."""
        inputs, outputs = (tree.flatten(each) for each in ends(call.operation))
        given = [self.known.get(id(each)) for each in call.inputs]
        if len(given) != len(inputs):
            for channels in given:
                self._freeze(channels, f"{call.path} takes other arguments")
            given = [None] * len(inputs)
        first = id(call.operation) not in self._entered
        if first:
            begin = len(self.calls)
            self.known.update(zip(map(id, inputs), given, strict=True))
            self.run(call.parts)
            inside = self.calls[begin:]
            self._entered[id(call.operation)] = given, inside
        else:
            before, inside = self._entered[id(call.operation)]
            self.calls.extend(inside)
            for one, other in zip(before, given, strict=True):
                self._same(one, other, call.path)
        self._lead(call, inputs, outputs)
        return [self.known.get(id(each)) for each in outputs]

    def _lead(self, call: Call, inputs: list, outputs: list) -> None:
        """Note what tensors within a layer are outside of it."""
        for inner, outer in zip(inputs, call.inputs, strict=False):
            self.begins.setdefault(id(inner), []).append(outer)
        for inner, outer in zip(outputs, call.outputs, strict=True):
            self.ends[id(outer)] = inner

    def _same(self, one, other, path: str) -> None:
        """Two calls of a model take the same channels."""
        if one is None or other is None or one.axis != other.axis:
            for channels in (one, other):
                self._freeze(channels, f"{path} is called elsewhere")
        else:
            self.record.labels.tie(one.labels, other.labels)

    def _freeze(self, channels: Channels | None, reason: str) -> None:
        if channels is not None:
            self.record.labels.freeze(channels.labels, reason)

    def _inside(self, call: Call) -> list:
        """A layer that is opened into those within it."""
        # What it does in training alone is not part of the new model.
        asked = dataclasses.replace(call, kwargs=_untrained(call))
        try:
            opened = open_call(asked)
        except CannotOpen:
            for each in call.inputs:
                reason = f"{call.path} cannot be opened"
                self._freeze(self.known.get(id(each)), reason)
            return [None] * len(call.outputs)
        opened.calls = stable_paths(opened.calls, call.path)
        self.opened[call.path] = opened
        for inner, outer in zip(opened.inputs, call.inputs, strict=True):
            self.known[id(inner)] = self.known.get(id(outer))
        self.run(opened.calls)
        self._lead(call, opened.inputs, opened.outputs)
        return [self.known.get(id(each)) for each in opened.outputs]

    def _branch(self, call: Call) -> list:
        """A branch that is skipped at random, and what it is added to."""
        layer, x = call.operation, call.inputs[0]
        self._note_ours(layer)
        opened = open_branch(layer, x, call.path)
        self.opened[call.path] = opened
        self.known[id(opened.inputs[0])] = self.known.get(id(x))
        self.run(opened.calls)
        self.begins.setdefault(id(opened.inputs[0]), []).append(x)
        found = [self.known.get(id(opened.outputs[0]))]
        others = call.inputs[1:]
        if isinstance(layer, StochasticBlock):
            others = [x]
        found += [self.known.get(id(each)) for each in others]
        for each in found[1:]:
            self._same(found[0], each, call.path)
        return found[:1] if None not in found else [None]


def _untrained(call: Call) -> dict:
    kwargs = {k: v for k, v in call.kwargs.items() if k != "training"}
    if takes_training(call.operation):
        kwargs["training"] = False
    return kwargs


def open_branch(layer: StochasticDepth, x, path: str) -> Opened:
    """The calls of the layer that a `StochasticDepth` holds."""
    begin = keras.Input(batch_shape=x.shape, dtype=x.dtype)
    held = layer.layer
    end = held(begin)
    calls = stable_paths(calls_between(begin, end), path)
    return Opened(calls, [begin], [end], [], [])


def stable_paths(calls: list[Call], prefix: str) -> list[Call]:
    """Calls within a layer, with paths that a copy of it has as well.

    Keras numbers the layers that a layer makes, through all of the program:
    here they are numbered within it.
    """
    names: dict[int, str] = {}
    counts: Counter = Counter()
    found = []
    for call in calls:
        key = id(call.operation)
        if key not in names:
            name = re.sub(r"_\d+$", "", call.operation.name)
            counts[name] += 1
            names[key] = name + (
                f"_{counts[name] - 1}" if counts[name] > 1 else ""
            )
        path = f"{prefix}/{names[key]}"
        counts[path] += 1
        path += f"#{counts[path]}" if counts[path] > 1 else ""
        parts = stable_paths(call.parts, path)
        found.append(dataclasses.replace(call, path=path, parts=parts))
    return found


def trace(
    inputs: Any,
    outputs: Any,
    calls: list[Call],
    on_unknown: str,
    rule_for: Callable = rule_for,
) -> Tracer:
    """Carry labels from the inputs of a model to its outputs.

    What the model returns keeps all its channels.
    """
    tracer = Tracer(on_unknown, rule_for)
    tracer.run(calls)
    for each in tree.flatten(outputs):
        channels = tracer.known.get(id(each))
        if channels is not None:
            tracer.record.labels.freeze(
                channels.labels, "the model returns them", first=True
            )
    if tracer.unknown:
        kinds = Counter(tracer.unknown.values())
        warnings.warn(
            "What these take keeps all its channels, as they have no rule: "
            + ", ".join(f"{n} x {kind}" for kind, n in kinds.items())
            + ". Add one with tfdeep.pruning.channel_rule.",
            stacklevel=4,
        )
    return tracer
