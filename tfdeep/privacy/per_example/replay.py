"""The steps of a model, run with marks at what has weights.

Steps with trainable weights run by a rule, which keeps what their gradients
need; all others run as they are. A layer made of layers is opened.
"""

from typing import Any

import keras
from keras import tree

from tfdeep.graph.opening import CannotOpen, Opened, open_call
from tfdeep.graph.program import Step
from tfdeep.graph.trace import Call, ends
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


class Ways:
    """How the calls of a model are run, so that gradients can be had.

    Args:
        calls: the calls.

    Attributes:
        rules: the `Rule` of calls with trainable weights, by their `id`.
        opened: what is inside layers that are run as their parts, likewise.

    Raises:
        CannotOpen: if one cannot be run.
    """

    def __init__(self, calls: list[Call]):
        self.rules: dict[int, Any] = {}
        self.opened: dict[int, Opened] = {}
        self._choose_all(calls)

    def _choose_all(self, calls: list[Call], trusted: bool = False) -> None:
        """Choose for each; operations of a trusted layer do not mix examples."""
        for call in calls:
            self._choose(call, trusted)

    def _choose(self, call: Call, trusted: bool) -> None:
        layer = call.operation
        if not isinstance(layer, keras.layers.Layer):
            if not (trusted or operation_isolates(call)):
                raise CannotOpen(call.path)
            return
        isolates = layer_isolates(layer, call.rank)
        if not layer.trainable_variables:
            if not isolates:
                raise CannotOpen(layer.name)
            return
        rule = rule_for(call)
        if rule is None or not (isolates or rule.vouched_for):
            try:
                self._open(call)
                return
            except CannotOpen:
                rule = mapped_rule_for(call)
                if rule is None or not isolates:
                    raise
        self.rules[id(call)] = rule

    def _open(self, call: Call) -> None:
        layer = call.operation
        if is_graph(layer):
            if len(tree.flatten(ends(layer)[0])) != len(call.inputs):
                raise CannotOpen(layer.name)
            self._choose_all(call.parts)
            return
        if own_variables(layer):
            raise CannotOpen(layer.name)
        inside = open_call(call)
        _check_whole(layer, inside.calls)
        self._choose_all(inside.calls, layer_isolates(layer, call.rank))
        self.opened[id(call)] = inside


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
    """One run of a program, with marks at what has weights.

    Args:
        rules: those of `Ways`.
        tap: marks a tensor; see `tfdeep.backend.tapped_gradients`.

    Attributes:
        records: for each call by a rule the rule, what it kept, and how many
            tensors it has marked.
    """

    def __init__(self, rules: dict[int, Any], tap):
        self._rules = rules
        self._tap = tap
        self._marks = 0
        self.records: list[tuple[Any, list, int]] = []

    def __call__(self, step: Step, args: tuple, kwargs: dict):
        rule = self._rules.get(id(step.call))
        if rule is None:
            return step.operation(*args, **kwargs)
        before, layer = self._marks, step.operation
        if rule.runs_alone:
            outputs, kept = rule.forward(self._mark, args[0])
            if layer.supports_masking:
                mask = layer.compute_mask(args[0], mask_of(args[0]))
                outputs = with_mask(outputs, mask)
        else:
            outputs, kept = rule.forward(self._mark, *args, **kwargs)
        self.records.append((rule, kept, self._marks - before))
        return outputs

    def _mark(self, tensor):
        self._marks += 1
        return self._tap(tensor)
