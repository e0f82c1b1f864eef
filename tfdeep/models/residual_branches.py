"""The residual branches of a model: as a report, and those that are meant."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import keras

from tfdeep.graph import Call, Graph, graph_of
from tfdeep.graph.branches import Branch, branches_of, size_of_weights
from tfdeep.graph.select import meant
from tfdeep.graph.trace import within
from tfdeep.report import Report, aligned

NONE_FOUND = (
    "no sum of two tensors that part at one, of which the longer way has "
    "weights, and nothing within it is used elsewhere. Blocks that are layers "
    "of their own are not looked into: those of tfdeep.layers take "
    "`survival_probability` themselves, and for others there is "
    "tfdeep.layers.StochasticBlock"
)


@dataclass(frozen=True)
class ResidualBranch:
    """One residual branch of a model.

    Args:
        merge: the path of the call that adds it to its shortcut.
        layers: the paths of its calls, in order.
        shortcut: those of the calls beside it, none for the identity.
        depth: the number of its sum in the model, from 1.
        weights: the number of values in its weights.
        drop_path: the path of the model's own layer that drops it, if any.
    """

    merge: str
    layers: list[str]
    shortcut: list[str]
    depth: int
    weights: int
    drop_path: str | None = None


@dataclass(frozen=True)
class ResidualBranches(Report):
    """The residual branches of a model; prints as a table.

    Args:
        model: the name of the model.
        branches: its branches, from the first to the last.
    """

    model: str
    branches: list[ResidualBranch]

    def __len__(self) -> int:
        return len(self.branches)

    def __iter__(self) -> Iterator[ResidualBranch]:
        return iter(self.branches)

    def __str__(self) -> str:
        if not self.branches:
            return f"'{self.model}' has no residual branches: {NONE_FOUND}."
        rows = [["depth", "sum", "branch", "weights", "shortcut", "drop path"]]
        for branch in self.branches:
            rows.append(
                [
                    str(branch.depth),
                    branch.merge,
                    _listed(branch.layers),
                    f"{branch.weights:,}",
                    _listed(branch.shortcut) or "identity",
                    branch.drop_path or "",
                ]
            )
        own = sum(branch.drop_path is not None for branch in self.branches)
        count = len(self.branches)
        title = f"'{self.model}' has {count} residual branch"
        title += "" if count == 1 else "es"
        if own:
            title += f", {own} with a drop path of the model's own"
        return "\n".join([title, aligned(rows)])

    def _content(self) -> dict[str, Any]:
        return {
            "model": self.model,
            "branches": [asdict(branch) for branch in self.branches],
        }

    def _figure(self) -> Any:
        """The weights of each branch by depth."""
        from tfdeep.visualization.figure import clean, color, new_figure, panels

        if not self.branches:
            return None
        figure = new_figure(7.0, 3.2)
        (axes,) = panels(figure, 1)
        for number, (label, with_layers) in enumerate(
            [("identity", False), ("shortcut with layers", True)]
        ):
            chosen = [b for b in self if bool(b.shortcut) is with_layers]
            if chosen:
                axes.bar(
                    [branch.depth for branch in chosen],
                    [branch.weights for branch in chosen],
                    color=color(number),
                    label=label,
                )
        axes.set(xlabel="depth of the branch", ylabel="weights")
        axes.legend(frameon=False)
        clean(axes)
        return figure


def find_residual_branches(model: keras.Model) -> ResidualBranches:
    """The residual branches of a model: f in `shortcut(x) + f(x)`.

    They are found by their form: a sum, of `keras.layers.Add`, `+` or
    `keras.ops.add`, whose operands part at one tensor. The operand with the
    fewest layers behind it is the shortcut, and each other one a branch, if
    it has weights and nothing else takes what is within it. Models inside the
    model are looked into, layers made of layers are not.

    `add_stochastic_depth` and `add_drop_path` go by it.

    Args:
        model: a built model. It stays as it is.

    Returns:
        A report with `.branches`, each with `.merge`, `.layers`, `.shortcut`,
        `.depth`, `.weights` and `.drop_path`. It prints as a table, and says
        so if there are none; `to_dict`, `save` and `plot` convert it.

    Raises:
        TypeError: if `model` is no `keras.Model`.
        ValueError: if it is not built, or cannot be called with symbolic
            tensors.

    Example:
        >>> import keras, tfdeep
        >>> x = inputs = keras.Input((8,))
        >>> for number in (1, 2):
        ...     y = keras.layers.Dense(8, "relu", name=f"up{number}")(x)
        ...     y = keras.layers.Dense(8, name=f"down{number}")(y)
        ...     x = keras.layers.Add(name=f"sum{number}")([x, y])
        >>> found = tfdeep.models.find_residual_branches(keras.Model(inputs, x))
        >>> [(branch.merge, branch.layers) for branch in found.branches]
        [('sum1', ['up1', 'down1']), ('sum2', ['up2', 'down2'])]
        >>> found.branches[0].shortcut, found.branches[1].depth
        ([], 2)
    """
    graph = graph_of(model)
    return ResidualBranches(
        model.name, [_described(branch) for branch in branches_of(graph)]
    )


def _described(branch: Branch) -> ResidualBranch:
    return ResidualBranch(
        branch.merge.path,
        _paths(branch.calls),
        _paths(branch.shortcut),
        branch.depth,
        size_of_weights(branch.calls),
        branch.drops[0].path if branch.drops else None,
    )


def _paths(calls: list[Call]) -> list[str]:
    return [call.path for call in calls]


def _listed(paths: list[str]) -> str:
    if len(paths) < 3:
        return ", ".join(paths)
    return f"{paths[0]} .. {paths[-1]} ({len(paths)})"


def as_patterns(exclude: Any) -> list:
    """What is excluded, as a list; raise `TypeError` for a single one."""
    if isinstance(exclude, (str, keras.Layer)):
        raise TypeError(
            "`exclude` must be a list of layers, names or patterns. Received: "
            f"exclude={exclude!r}. Put it in a list."
        )
    return list(exclude)


def meant_by(graph: Graph, branches: list[Branch], patterns: list) -> set[int]:
    """The ids of the branches that patterns mean."""
    found = set()
    for pattern in patterns:
        calls = {id(c.outputs[0]) for c in meant(graph.calls, pattern)}
        hit = {
            id(branch)
            for branch in branches
            for call in within([branch.merge, *branch.calls])
            if id(call.outputs[0]) in calls
        }
        if not hit:
            shown = getattr(pattern, "name", pattern)
            raise ValueError(
                "`exclude` must name layers in residual branches, or their "
                f"sums. Received: {shown!r}, which is in none of them; "
                "tfdeep.models.find_residual_branches(model) shows them."
            )
        found |= hit
    return found
