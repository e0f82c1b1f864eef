"""Which channels of a model can be removed, and what goes with each."""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import keras
import numpy as np

from tfdeep.checks import check_choice
from tfdeep.graph import graph_of
from tfdeep.graph.select import meant
from tfdeep.graph.trace import within
from tfdeep.inside import plain_of
from tfdeep.keras_internals import layers_of
from tfdeep.pruning.call import Axis
from tfdeep.pruning.groups import ChannelGroup, groups_of
from tfdeep.pruning.labels import Labels
from tfdeep.pruning.registry import rule_for
from tfdeep.pruning.trace import trace
from tfdeep.report import Report, aligned

ON_UNKNOWN = ("freeze", "error")


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
            changed. A wrapper of this package stands for its `.base`.
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
        model = plain_of(model)
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
        self.groups = groups_of(self.tracer.record, self._root)

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
