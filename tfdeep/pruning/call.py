"""One call of a layer or operation, as a rule of channels sees it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
from keras import tree

from tfdeep.graph import Call
from tfdeep.pruning.labels import FIXED, Channels, Labels


@dataclass(eq=False)
class Axis:
    """An axis of a variable whose slices belong to channels.

    Args:
        layer: the layer that has the variable.
        variable: the variable.
        axis: integer, the axis.
        labels: one for each slice.
        role: `"out"` where the slices make the channels, `"in"` where they
            take them, `"parameter"` where there is one for each.
    """

    layer: Any
    variable: keras.Variable
    axis: int
    labels: np.ndarray
    role: str


@dataclass(eq=False)
class Record:
    """What rules have said of a model.

    Args:
        labels: the labels of all channels.
        axes: the axes of variables, by the variable's `id` and the axis.
        made: the labels that each layer has made, by its `id`.
        sizes: the entries of configurations that count channels, by the `id`
            of the layer or operation.
        arguments: what changes the arguments of a call, by its path.
        taken: the tensors that each layer with weights takes channels from.
    """

    labels: Labels = field(default_factory=Labels)
    axes: dict[tuple[int, int], Axis] = field(default_factory=dict)
    made: dict[tuple, np.ndarray] = field(default_factory=dict)
    sizes: dict[int, dict] = field(default_factory=dict)
    arguments: dict[str, Callable] = field(default_factory=dict)
    taken: dict[int, tuple] = field(default_factory=dict)


class ChannelCall:
    """What a rule for `channel_rule` is given.

    A rule says which axes of which variables belong to the channels of the
    inputs (`takes`, `scales`) and of the output (`makes`), which entries of
    the configuration count them (`counts`), and returns the `Channels` of the
    output: `(axis, labels)`, `None` where none of them can go, or a list of
    these for several outputs.

    Attributes:
        layer: the layer or operation.
        path: the path of the call.
        call: the `tfdeep.graph.Call`.
        inputs: the `Channels` of each symbolic tensor among its arguments,
            `None` where none of them can go.
    """

    def __init__(self, call: Call, known: dict[int, Any], record: Record):
        self.call = call
        self.layer = call.operation
        self.path = call.path
        self.inputs = [known.get(id(each)) for each in call.inputs]
        self._known = known
        self._record = record

    @property
    def config(self) -> dict:
        """The configuration of the layer or operation."""
        return self.layer.get_config()

    @property
    def shapes(self) -> list[tuple]:
        """The shapes of the symbolic tensors among the arguments."""
        return [tuple(each.shape) for each in self.call.inputs]

    @property
    def axes(self) -> list[int] | None:
        """The `axis` of the layer, counted from 0; `None` if it means all."""
        axis, rank = getattr(self.layer, "axis", -1), len(self.shapes[0])
        if axis is None:
            return None
        axes = axis if isinstance(axis, (list, tuple)) else [axis]
        return [each % rank for each in axes]

    def of(self, value: Any) -> Channels | None:
        """The channels of one of the arguments."""
        return self._known.get(id(value))

    def on(self, channels: Channels | None, axis: int, rank: int) -> Any:
        """The labels on an axis; channels on another one are frozen."""
        if channels is None:
            return None
        if channels.axis == axis % rank:
            return channels.labels
        self.freeze(channels, f"{self.path} takes them for positions")
        return None

    def new(self, count: int, key: str = "") -> np.ndarray:
        """Labels for the channels that the layer makes.

        A layer that is called again makes the same ones.
        """
        known = self._record.made
        place = (id(self.layer), key)
        if place not in known:
            path = f"{self.path}:{key}" if key else self.path
            known[place] = self._record.labels.new(path, count)
        return known[place]

    def makes(self, variable, axis: int, labels) -> None:
        """Say that slices of a variable make channels."""
        self._note(variable, axis, labels, "out")

    def takes(self, variable, axis: int, labels) -> None:
        """Say that slices of a variable are multiplied with channels."""
        self._note(variable, axis, labels, "in")
        if labels is not None:
            for each in self.call.inputs:
                if self._known.get(id(each)) is not None:
                    self._record.taken[id(each)] = (each, self.path)

    def scales(self, variable, axis: int, labels) -> None:
        """Say that a variable has a slice for each channel."""
        self._note(variable, axis, labels, "parameter")

    def _note(self, variable, axis: int, labels, role: str) -> None:
        if variable is None:
            return
        axis %= len(variable.shape)
        size = variable.shape[axis]
        if labels is not None and len(labels) != size:
            raise ValueError(
                f"A rule of channels must have a label for each of the {size} "
                f"slices on axis {axis} of {variable.path!r}. Received: "
                f"{len(labels)} labels"
            )
        known = self._record.axes.get((id(variable), axis))
        if known is None:
            if labels is None:
                labels = np.full(size, FIXED)
            self._record.axes[id(variable), axis] = Axis(
                self.layer, variable, axis, np.asarray(labels), role
            )
        elif labels is None:
            self.freeze_labels(known.labels, f"{self.path} is called elsewhere")
        else:
            self.tie(known.labels, labels)

    def counts(
        self,
        key: str,
        labels,
        item: int | None = None,
        value: Callable | None = None,
    ) -> None:
        """Say that an entry of the configuration is the number of channels.

        Args:
            key: the entry.
            labels: the labels that it counts.
            item: the place in it, if it is a sequence.
            value: what it is in place of the number: a function of a boolean
                array, which labels are kept.
        """
        if labels is None:
            return
        sizes = self._record.sizes.setdefault(id(self.layer), {})
        known = sizes.get((key, item))
        if known is None:
            value = value or (lambda kept: int(kept.sum()))
            sizes[key, item] = (np.asarray(labels), value)
        elif len(known[0]) == len(labels):
            self.tie(known[0], labels)
        else:
            both = np.concatenate([known[0], labels])
            self.freeze_labels(both, f"{self.path} is called elsewhere")

    def rearranges(self, function: Callable) -> None:
        """Give a function that changes the arguments of the new call.

        It is called with `(args, kwargs, keep)`; `keep(labels)` says which
        are kept, a boolean array.
        """
        self._record.arguments[self.path] = function

    def tie(self, first, second) -> None:
        """Let channels at the same place go only together."""
        self._record.labels.tie(first, second)

    def roots(self, labels) -> np.ndarray:
        """Labels that are equal where channels go only together."""
        return self._record.labels.roots(labels)

    def mixes(self, labels, by: str | None = None) -> None:
        """Say that the output of one channel depends on the others."""
        if labels is not None:
            self._record.labels.mix(labels, by or self.path)

    def freeze(self, channels: Channels | None, reason: str) -> None:
        """Let the channels of a tensor stay, and say why."""
        if channels is not None:
            self.freeze_labels(channels.labels, reason)

    def freeze_labels(self, labels, reason: str) -> None:
        """Let channels stay, and say why."""
        self._record.labels.freeze(labels, reason)

    def freeze_inputs(self, reason: str) -> None:
        """Let the channels of all inputs stay, and say why."""
        for channels in self.inputs:
            self.freeze(channels, reason)


def listed(result: Any, count: int) -> list:
    """What a rule returned, as one entry for each output."""
    if result is None:
        return [None] * count
    if isinstance(result, Channels):
        return [result] * count
    flat = list(result)
    if len(flat) != count:
        raise ValueError(
            f"A rule of channels must return one entry for each of {count} "
            f"outputs. Received: {len(flat)}"
        )
    return flat


def symbols(value: Any) -> list:
    """The symbolic tensors in a structure."""
    return [
        each
        for each in tree.flatten(value)
        if isinstance(each, keras.KerasTensor)
    ]
