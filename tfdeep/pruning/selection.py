"""Channels chosen from a trunk by each normalization that reads it.

In a pre-activation net every block begins with a batch normalization of the
trunk that all blocks share. To remove channels of the trunk, all of them would
have to go without it; here each block chooses its own.
"""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from tfdeep.pruning.call import ChannelCall
from tfdeep.pruning.channels import ChannelGraph
from tfdeep.pruning.labels import Channels, Labels
from tfdeep.pruning.registry import rule_for


class Choice(NamedTuple):
    """The channels before and behind a normalization.

    Args:
        layer: the `id` of the layer.
        path: the path of its call.
        before: the labels of its input.
        behind: those of its output.
    """

    layer: int
    path: str
    before: np.ndarray
    behind: np.ndarray


class SelectionGraph(ChannelGraph):
    """A `ChannelGraph` in which normalizations choose channels.

    What a batch normalization returns are channels of its own. Where nothing
    else reads what it is given, they go together with the filters that make
    them, as they do elsewhere. Otherwise its input keeps its width, and the
    compact model gathers from it what the normalization keeps.

    Reference:
        Liu et al., "Learning Efficient Convolutional Networks through
        Network Slimming", 2017, section 3.2, "Dealing with Cross Layer
        Connections and Pre-activation Structure". Deviation: channels are
        gathered in front of the normalization, which is then as small as
        what it returns; the values are the same.

    Args:
        model: a built model.
        choosing: the batch normalizations that choose.
    """

    def __init__(self, model: keras.Model, choosing: Iterable):
        self._choosing = {id(layer) for layer in choosing}
        self._choices: list[Choice] = []
        super().__init__(model)

    def _rule(self, operation: Any) -> Callable | None:
        if id(operation) in self._choosing:
            return self._choose
        return rule_for(operation)

    def _choose(self, call: ChannelCall):
        """Channels of its own, gathered from those of the input."""
        layer, rank = call.layer, len(call.shapes[0])
        before = call.on(call.inputs[0], layer.axis, rank)
        rule = rule_for(layer)
        if before is None and rule is not None:
            return rule(call)
        axis = layer.axis % rank
        behind = call.new(len(before))
        for variable in layer.variables:
            if len(variable.shape) == 1:
                call.scales(variable, 0, behind)
        call.rearranges(partial(_gather, axis, before, behind))
        self._choices.append(Choice(id(layer), call.path, before, behind))
        return Channels(axis, behind)

    def _settle(self, labels: Labels) -> None:
        """Let channels that only one normalization reads go with it."""
        readers: dict[int, set[int]] = {}
        for choice in self._choices:
            for root in set(labels.roots(choice.before).tolist()):
                readers.setdefault(root, set()).add(choice.layer)
        shared = {root for root, layers in readers.items() if len(layers) > 1}
        shared.update(labels.frozen())
        for axis in self.axes:
            if axis.role == "in":
                shared.update(labels.roots(axis.labels).tolist())
        alone = [
            shared.isdisjoint(labels.roots(choice.before).tolist())
            for choice in self._choices
        ]
        for choice, own in zip(self._choices, alone, strict=True):
            if own:
                labels.tie(choice.before, choice.behind)
            else:
                reason = f"{choice.path} chooses from them"
                labels.freeze(choice.before, reason)


def _gather(axis: int, before, behind, args: tuple, kwargs: dict, keep):
    """The arguments of a normalization that reads fewer channels."""
    there = keep(before)
    places = np.flatnonzero(keep(behind)[there])
    x, *others = args
    if len(places) < np.count_nonzero(there):
        x = ops.take(x, places.tolist(), axis=axis)
    return (x, *others), kwargs
