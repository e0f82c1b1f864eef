"""Which channels go, and the model without them."""

import json
import os
import warnings
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from tfdeep.keras_internals import weights_of
from tfdeep.pruning.channels import ChannelGraph
from tfdeep.pruning.compact import compact
from tfdeep.pruning.cost import Costs
from tfdeep.pruning.mask import mask
from tfdeep.report import Report, aligned


class PruningPlan(Report):
    """Which channels of a model go.

    `graph.plan(scores, ...)` makes one. It holds names and numbers alone, and
    fits every model of the same layers: the one that it was made of, however
    that is trained on, and a copy of it.

    Args:
        removed: dict from the names of groups to the numbers of the channels
            that go.
        graph: the `ChannelGraph` of the model.

    Attributes:
        removed: as given, in order.
        kept: dict from the names of all free groups to what stays.
        widths: dict from the paths of layers that make channels to
            `(before, after)`.

    Example:
        >>> import keras, tfdeep
        >>> model = keras.Sequential([keras.Input((4,))])
        >>> model.add(keras.layers.Dense(8, name="low"))
        >>> model.add(keras.layers.Dense(2, name="high"))
        >>> graph = tfdeep.pruning.ChannelGraph(model)
        >>> plan = graph.plan({"low": [3, 1, 2, 9, 8, 7, 6, 5]}, ratio=0.25)
        >>> plan.removed, plan.widths["low"]
        ({'low': [1, 2]}, (8, 6))
        >>> plan.compact(model).count_params()
        44
    """

    def __init__(self, removed: Mapping, graph: ChannelGraph):
        groups = {group.name: group for group in graph.free}
        self.removed = {
            name: sorted(int(each) for each in removed[name])
            for name in groups
            if len(removed.get(name, ()))
        }
        self.kept = {
            name: sorted(
                set(range(group.channels)) - set(self.removed.get(name, ()))
            )
            for name, group in groups.items()
        }
        self.fingerprint = graph.fingerprint()
        self.exclude = [
            each if isinstance(each, str) else each.name
            for each in graph.exclude
        ]
        costs = Costs(graph)
        gone = gone_in(graph, self.removed)
        self.rows = costs.rows(gone)
        self.widths = {path: (old, new) for path, old, new, *_ in self.rows}
        self.parameters = (costs.parameters(), costs.parameters(gone))
        self.multiply_adds = (costs.multiply_adds(), costs.multiply_adds(gone))
        self.needs = sorted(graph.tracer.staying)
        self.inexact = [name for name in self.removed if not groups[name].exact]

    def graph_of(self, model: keras.Model) -> ChannelGraph:
        """The `ChannelGraph` of a model that this plan fits.

        Raises:
            ValueError: if it does not fit.
        """
        with warnings.catch_warnings():  # Of what the plan's maker knows.
            warnings.simplefilter("ignore")
            graph = ChannelGraph(model, exclude=self.exclude)
        if graph.fingerprint() != self.fingerprint:
            raise ValueError(
                "`model` must be the one that this plan was made for, or a "
                "copy of it: another one has other channels, and so has one "
                f"that was changed since. Received: model={model.name!r}. "
                "Make a plan for it"
            )
        return graph

    def compact(self, model: keras.Model, *, optimizer: str = "keep"):
        """A new model without the channels that go.

        Layers are plain Keras layers with the names, settings and weights
        that they had; a compiled model stays compiled.

        Args:
            model: the model that the plan was made for, which stays as it
                is, or a copy of it.
            optimizer: `"keep"` or `"new"`: what the optimizer keeps for each
                weight is cut as the weight is, or begins from zero.

        Returns:
            A `keras.Model`.

        Raises:
            ValueError: if the plan does not fit, or the optimizer was built
                for other weights than those of the model.
        """
        graph = self.graph_of(model)
        if optimizer == "keep":
            _check_optimizer(model)
        return compact(graph, gone_in(graph, self.removed), optimizer)

    def mask(self, model: keras.Model) -> None:
        """Set the weights of the channels that go to zero, in place.

        Also those that take them, so that the outputs are those of the
        compact model. Nothing is smaller or faster: saving or exporting the
        model warns of that.

        Args:
            model: the model that the plan was made for, or a copy of it.

        Raises:
            ValueError: if the plan does not fit.
        """
        graph = self.graph_of(model)
        mask(graph, gone_in(graph, self.removed))

    def _content(self) -> dict:
        return {
            "removed": self.removed,
            "kept": self.kept,
            "widths": {k: list(v) for k, v in self.widths.items()},
            "parameters": list(self.parameters),
            "multiply_adds": list(self.multiply_adds),
            "inexact": self.inexact,
            "needs": self.needs,
            "exclude": self.exclude,
            "fingerprint": self.fingerprint,
            "rows": [list(row) for row in self.rows],
        }

    @classmethod
    def from_dict(cls, content: Mapping) -> "PruningPlan":
        """The plan that `to_dict` was called of.

        Raises:
            ValueError: if `content` is none.
        """
        wanted = {"removed", "kept", "widths", "fingerprint", "rows"}
        if not isinstance(content, Mapping) or not wanted <= set(content):
            raise ValueError(
                "`content` must be what PruningPlan.to_dict gives. Received: "
                f"{type(content).__name__} without "
                f"{sorted(wanted - set(content or ()))}"
            )
        plan = cls.__new__(cls)
        for name in ("parameters", "multiply_adds"):
            setattr(plan, name, tuple(content[name]))
        for name in ("removed", "kept"):
            setattr(plan, name, {k: list(v) for k, v in content[name].items()})
        plan.widths = {k: tuple(v) for k, v in content["widths"].items()}
        plan.rows = [tuple(row) for row in content["rows"]]
        plan.inexact = list(content["inexact"])
        plan.needs = list(content["needs"])
        plan.exclude = list(content["exclude"])
        plan.fingerprint = content["fingerprint"]
        return plan

    def __str__(self) -> str:
        head = ["layer", "before", "after", "parameters", "multiply-adds"]
        total = ("total", "", "", self.parameters[1], self.multiply_adds[1])
        rows = [[_shown(each) for each in row] for row in [*self.rows, total]]
        lines = [aligned([head, *rows], range(1, 5))]
        if self.inexact:
            lines.append(
                "Not exact, as channels are mixed: " + ", ".join(self.inexact)
            )
        if self.needs:
            lines.append("Its file needs tfdeep: " + ", ".join(self.needs))
        return "\n".join(lines)

    def _figure(self):
        """The width of each layer, before and after."""
        from tfdeep.visualization.bars import bar_chart

        before = [old for old, _ in self.widths.values()]
        after = [new for _, new in self.widths.values()]
        return bar_chart(list(self.widths), {"removed": before, "kept": after})


def _shown(value: Any) -> str:
    if value is None:
        return "unknown"
    return f"{value:,}" if isinstance(value, int) else value


def _check_optimizer(model: keras.Model) -> None:
    """Raise for an optimizer that knows nothing of the model's weights."""
    optimizer = getattr(model, "optimizer", None)
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)
    if optimizer is None or not optimizer.built:
        return
    known = {id(variable) for variable in model.variables}
    others = [v.path for v in weights_of(optimizer) if id(v) not in known]
    if others:
        raise ValueError(
            "`optimizer='keep'` needs an optimizer that was built for this "
            "model. Received: one that trains "
            f"{', '.join(others[:3])}, which are weights of another. Compile "
            "the model again, or pass optimizer='new'"
        )


def gone_in(graph: ChannelGraph, removed: Mapping) -> np.ndarray:
    """The roots of the channels that go."""
    groups = {group.name: group for group in graph.free}
    return np.concatenate(
        [
            np.zeros(0, int),
            *(
                groups[name].roots[np.asarray(numbers, int)]
                for name, numbers in removed.items()
            ),
        ]
    )


def load_plan(path: str | os.PathLike) -> PruningPlan:
    """A plan from the file that `plan.save(path)` wrote.

    Args:
        path: path of the file.

    Returns:
        A `PruningPlan`.

    Raises:
        ValueError: if it holds no plan.
    """
    with open(path, encoding="utf-8") as file:
        content: Any = json.load(file)
    return PruningPlan.from_dict(content)
