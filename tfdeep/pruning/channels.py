"""Which channels of a model can be removed, and what goes with each."""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np

from tfdeep.checks import check_choice
from tfdeep.graph import graph_of
from tfdeep.graph.select import meant
from tfdeep.graph.trace import within
from tfdeep.keras_internals import layers_of
from tfdeep.pruning.call import Axis
from tfdeep.pruning.labels import Labels
from tfdeep.pruning.registry import rule_for
from tfdeep.pruning.trace import trace
from tfdeep.report import Report, aligned

ON_UNKNOWN = ("freeze", "error")


@dataclass(eq=False)
class Member:
    """Slices of a variable that belong to the channels of a group.

    Args:
        layer: the layer that has the variable.
        variable: the variable.
        axis: integer, the axis of the slices.
        role: `"out"` where they make the channels, `"in"` where they take
            them, `"parameter"` where there is one for each.
        places: the number of the group's channel for each slice, -1 for
            slices of other groups.
    """

    layer: Any
    variable: keras.Variable
    axis: int
    role: str
    places: np.ndarray

    def sums(self, values: np.ndarray, channels: int) -> np.ndarray:
        """Values of the variable's shape, summed up for each channel."""
        axes = tuple(a for a in range(values.ndim) if a != self.axis)
        slices = values.sum(axes)
        mine = self.places >= 0
        return np.bincount(
            self.places[mine], slices[mine], minlength=channels
        ).astype(values.dtype)


@dataclass(eq=False)
class ChannelGroup:
    """Channels that the same layers make and take.

    Args:
        name: path of the first layer that makes them; of several groups of
            one layer, further ones end in ":2", ":3".
        channels: integer, how many there are. Each goes or stays as a whole,
            with all its slices.
        members: what goes with them.
        frozen: boolean, whether they all stay.
        reason: why, `None` if they are free.
        exact: boolean, whether the model without some of them is the model in
            which they are masked.
        mixed_by: what mixes them with others, `None` if they are exact.
        roots: the label of each channel.
    """

    name: str
    channels: int
    members: list[Member] = field(default_factory=list)
    frozen: bool = False
    reason: str | None = None
    exact: bool = True
    mixed_by: str | None = None
    roots: np.ndarray = field(default_factory=lambda: np.zeros(0, int))


class ChannelGraph(Report):
    """Which channels of a model can be removed, and what goes with them.

    A channel is removed with the filter that makes it, the normalization that
    scales it and the weights that take it, wherever it goes: through sums,
    where channels of several layers go together, concatenations, depthwise
    and grouped convolutions, reshapes, attention. What cannot be followed
    keeps its channels, with a reason.

    Reference:
        Fang et al., "DepGraph: Towards Any Structural Pruning", 2023,
        section 3, for the groups. Deviation: they are found by labels of
        single channels, so that parts of a layer can be in several groups.

    Args:
        model: a built model; models inside it are looked into. It is not
            changed.
        exclude: layers, paths or `fnmatch` patterns of paths whose output
            keeps all its channels.
        on_unknown: `"freeze"` or `"error"`: where a layer has no rule, what
            it takes keeps its channels, with a warning; or it is an error.

    Attributes:
        groups: all groups.

    Raises:
        TypeError: if `model` is no `keras.Model`.
        ValueError: if it is not built, has quantized or LoRA weights, an
            exclusion means nothing, or a layer has no rule with `"error"`.

    Example:
        >>> import keras, tfdeep
        >>> x = inputs = keras.Input((8, 8, 3))
        >>> x = keras.layers.Conv2D(4, 3, name="low")(x)
        >>> y = keras.layers.Conv2D(4, 1, name="branch")(x)
        >>> x = keras.layers.GlobalAveragePooling2D()(x + y)
        >>> model = keras.Model(inputs, keras.layers.Dense(2, name="out")(x))
        >>> graph = tfdeep.pruning.ChannelGraph(model)
        >>> for group in graph.groups:
        ...     print(group.name, group.channels, group.frozen)
        low 4 False
        out 2 True
        >>> graph.groups[1].reason
        'the model returns them'
    """

    def __init__(
        self,
        model: keras.Model,
        *,
        exclude: Iterable = (),
        on_unknown: str = "freeze",
    ):
        check_choice("on_unknown", on_unknown, ON_UNKNOWN)
        graph = graph_of(model)
        _check_weights(model)
        self.model = model
        self.graph = graph
        self.tracer = trace(
            graph.inputs, graph.outputs, graph.calls, on_unknown, self._rule
        )
        opened = self.tracer.opened.values()
        self._calls = [
            *graph.calls,
            *(c for each in opened for c in each.calls),
        ]
        self.on_unknown = on_unknown
        self.exclude = _patterns(exclude)
        labels = self.tracer.record.labels
        for pattern in self.exclude:
            labels.freeze(self.made_by(pattern), "it is excluded")
        self._settle(labels)
        self._root = labels.table()
        self.groups = _groups(self.tracer.record, self._root)

    def _rule(self, operation: Any) -> Callable | None:
        """The rule of a layer or operation, `None` if there is none."""
        return rule_for(operation)

    def _settle(self, labels: Labels) -> None:
        """Tie or freeze what can only be told once all calls are known."""

    @property
    def free(self) -> list[ChannelGroup]:
        """The groups that are not frozen."""
        return [group for group in self.groups if not group.frozen]

    @property
    def axes(self) -> list[Axis]:
        """The axes of variables that have channels on them."""
        return list(self.tracer.record.axes.values())

    def roots(self, labels) -> np.ndarray:
        """What labels are equal for channels that go together."""
        return self._root[labels]

    def lost(self, gone) -> np.ndarray:
        """For each label whether it goes with the channels of these roots."""
        lost = np.zeros(len(self._root), bool)
        lost[np.asarray(gone, int)] = True
        return lost[self._root]

    def made_by(self, pattern: Any) -> np.ndarray:
        """The labels of the channels that the layers of a pattern make."""
        record, known = self.tracer.record, self.tracer.known
        paths = [call.path for call in meant(self._calls, pattern)]
        found = []
        for call in within(self._calls):
            if not any(
                call.path == path or call.path.startswith(f"{path}/")
                for path in paths
            ):
                continue
            made = [
                labels
                for (layer, _), labels in record.made.items()
                if layer == id(call.operation)
            ]
            outputs = [known.get(id(each)) for each in call.outputs]
            found += made or [c.labels for c in outputs if c is not None]
        return np.concatenate([np.zeros(0, int), *found])

    def excluded(self, patterns: Iterable) -> set[int]:
        """The roots of the channels that patterns exclude."""
        found: set[int] = set()
        for pattern in _patterns(patterns):
            found.update(self.roots(self.made_by(pattern)).tolist())
        return found

    def fingerprint(self) -> str:
        """A text that is another one for a model of other channels."""
        number = {id(v): n for n, v in enumerate(self.model.variables)}
        content = [
            [list(v.shape) for v in self.model.variables],
            [
                [
                    group.name,
                    group.channels,
                    sorted(
                        (number.get(id(m.variable), -1), m.axis, m.role)
                        for m in group.members
                    ),
                ]
                for group in self.groups
            ],
        ]
        text = json.dumps(content)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def plan(
        self,
        scores: Mapping,
        *,
        ratio: float | None = None,
        max_parameters: float | None = None,
        max_multiply_adds: float | None = None,
        scope: str | Mapping = "global",
        min_channels: int = 1,
        max_ratio: float = 0.9,
        round_to: int = 1,
        exclude: Iterable = (),
        exact_only: bool = False,
    ):
        """Choose channels by their scores: the lowest go.

        Exactly one of `ratio`, `max_parameters`, `max_multiply_adds` and a
        dict as `scope` says how many.

        Args:
            scores: `Scores`, or a dict from names of groups to arrays with a
                number for each channel. Groups that are not in it keep all
                channels.
            ratio: float in [0, 1), the share of the free channels that goes:
                n - floor(n (1 - ratio)) of n. Fewer go where floors hold.
            max_parameters: the number of weights that may be left, statistics
                of normalization included: an integer, or the fraction that
                remains. Never exceeded, and no channel more goes than needed.
            max_multiply_adds: the same of multiply-adds of one example, as
                `tfdeep.models.count` counts.
            scope: `"global"`, one threshold for all groups; `"local"`, the
                same share of each group; or a dict from layers, paths and
                patterns to ratios, of which the first that means a group
                counts.
            min_channels: integer, what each layer keeps at least.
            max_ratio: float in [0, 1), the share that each layer loses at
                most.
            round_to: integer, the multiple that the kept channels of a group
                are rounded up to.
            exclude: layers, paths or patterns that keep their channels.
            exact_only: boolean, whether groups that are not exact keep all
                channels. To name one in `scope` is an error then.

        Returns:
            A `PruningPlan`.

        Raises:
            TypeError: if `scores` are no mapping.
            ValueError: for settings outside these ranges, scores that do not
                fit, or a budget that cannot be met; the message says the
                least possible.
        """
        from tfdeep.pruning.choice import chosen  # It makes plans of graphs.

        return chosen(
            self,
            scores,
            ratio=ratio,
            budgets={
                "max_parameters": max_parameters,
                "max_multiply_adds": max_multiply_adds,
            },
            scope=scope,
            floors=(min_channels, max_ratio),
            round_to=round_to,
            exclude=exclude,
            exact_only=exact_only,
        )

    def _content(self) -> dict:
        return {
            "groups": [
                {
                    "name": group.name,
                    "channels": group.channels,
                    "frozen": group.frozen,
                    "reason": group.reason,
                    "exact": group.exact,
                    "members": [
                        {
                            "layer": member.layer.name,
                            "variable": member.variable.path,
                            "axis": member.axis,
                            "role": member.role,
                        }
                        for member in group.members
                    ],
                }
                for group in self.groups
            ]
        }

    def __str__(self) -> str:
        rows = [
            [
                group.name,
                f"{group.channels:,}",
                str(len(group.members)),
                group.reason or ("free" if group.exact else "free, not exact"),
            ]
            for group in self.groups
        ]
        return aligned([["group", "channels", "weights", ""], *rows], [1, 2])

    def _figure(self):
        """A bar for each group, as long as it has channels."""
        from tfdeep.visualization.bars import bar_chart

        names = [group.name for group in self.groups]
        total = [group.channels for group in self.groups]
        free = [0 if g.frozen else g.channels for g in self.groups]
        return bar_chart(names, {"frozen": total, "free": free})


def _patterns(exclude: Any) -> list:
    if isinstance(exclude, (str, keras.layers.Layer)):
        raise TypeError(
            "`exclude` must be a list of layers, paths or patterns. Received: "
            f"exclude={exclude!r}. Put a single one in a list."
        )
    return list(exclude)


def _check_weights(model: keras.Model) -> None:
    """Raise for weights that are not what their layer multiplies with."""
    quantized = [
        layer.name
        for layer in layers_of(model)
        if getattr(layer, "quantization_mode", None) is not None
    ]
    adapted = [
        layer.name
        for layer in layers_of(model)
        if getattr(layer, "lora_enabled", False)
    ]
    if quantized or adapted:
        raise ValueError(
            "`model` must have plain weights: prune before it is quantized, "
            "and load it without LoRA or merge it. Received: "
            f"model={model.name!r} with quantized {quantized}, LoRA {adapted}"
        )


def _groups(record, table: np.ndarray) -> list[ChannelGroup]:
    """Classes of labels, sorted by the blocks that they are in.

    Args:
        record: what rules have said.
        table: the root of each label.
    """
    labels = record.labels
    frozen, mixed = labels.frozen(), labels.mixed()
    blocks: dict[int, list[int]] = {}
    for number, block in enumerate(labels.blocks):
        for root in dict.fromkeys(table[block.labels].tolist()):
            blocks.setdefault(root, []).append(number)
    parts: dict[tuple, list[int]] = {}
    for root, numbers in blocks.items():
        key = (tuple(numbers), frozen.get(root), mixed.get(root))
        parts.setdefault(key, []).append(root)
    groups: list[ChannelGroup] = []
    names: Counter = Counter()
    for (numbers, reason, by), roots in parts.items():
        name = labels.blocks[numbers[0]].path
        names[name] += 1
        name += f":{names[name]}" if names[name] > 1 else ""
        groups.append(
            ChannelGroup(
                name,
                len(roots),
                frozen=reason is not None,
                reason=reason,
                exact=by is None,
                mixed_by=by,
                roots=np.array(roots),
            )
        )
    _add_members(record, table, groups)
    for group in groups:
        if not group.frozen and all(m.role == "in" for m in group.members):
            group.frozen, group.reason = True, "no weights make them"
    return groups


def _add_members(record, table: np.ndarray, groups: list) -> None:
    owner = np.full(len(table), -1)
    place = np.full(len(table), -1)
    for number, group in enumerate(groups):
        owner[group.roots] = number
        place[group.roots] = np.arange(group.channels)
    for axis in record.axes.values():
        roots = table[axis.labels]
        owners, places = owner[roots], place[roots]
        for number in dict.fromkeys(owners.tolist()):
            if number >= 0:
                groups[number].members.append(
                    Member(
                        axis.layer,
                        axis.variable,
                        axis.axis,
                        axis.role,
                        np.where(owners == number, places, -1),
                    )
                )
