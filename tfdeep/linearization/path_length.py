"""The average path length: how deep a net is, counted in active units."""

from dataclasses import asdict, dataclass
from typing import Any

import keras
import numpy as np
from keras import tree

from tfdeep.checks import check_boolean, check_positive, check_seed
from tfdeep.graph.holders import is_holder, without_holder
from tfdeep.graph.opening import CannotOpen, Opened, open_call
from tfdeep.graph.program import Program, Step
from tfdeep.graph.trace import Call, graph_of
from tfdeep.linearization import paths
from tfdeep.linearization.path_rules import RULES, NoRule, is_ours
from tfdeep.linearization.paths import Paths, begun
from tfdeep.linearization.units import unit_of
from tfdeep.models.stacking import without_repeat
from tfdeep.report import Report, aligned


@dataclass(frozen=True)
class LayerUnits:
    """The nonlinear units of one call.

    Args:
        path: the path of the call.
        kind: what is nonlinear there.
        units: how many units there are, one for each channel or slope.
        active: how many of them are nonlinear.
    """

    path: str
    kind: str
    units: int
    active: int


@dataclass(frozen=True)
class PathLength(Report):
    """What `tfdeep.linearization.path_length` finds.

    Args:
        average: active units on a random path; `float(r)` is the same.
        log_paths: the natural logarithm of the number of paths.
        normalized: whether each branch is equally likely, or each path.
        layers: what each nonlinear call has, in the order of the model.
    """

    average: float
    log_paths: float
    normalized: bool
    layers: tuple[LayerUnits, ...]

    def __float__(self):
        return self.average

    @property
    def units(self) -> int:
        """How many units there are."""
        return sum(row.units for row in self.layers)

    @property
    def active(self) -> int:
        """How many units are nonlinear."""
        return sum(row.active for row in self.layers)

    def __str__(self):
        rows = [("layer", "kind", "units", "active")]
        rows += [
            (row.path, row.kind, f"{row.units:,}", f"{row.active:,}")
            for row in self.layers
        ]
        rows.append(("all", "", f"{self.units:,}", f"{self.active:,}"))
        table = aligned(rows, right=(2, 3))
        return f"{table}\naverage path length {self.average:.3f}"

    def _content(self) -> dict:
        return {
            "average": self.average,
            "log_paths": self.log_paths,
            "normalized": self.normalized,
            "layers": [asdict(row) for row in self.layers],
        }

    def _figure(self):
        """The units of each layer, and how many of them are active."""
        from tfdeep.visualization.bars import bar_chart

        if not self.layers:
            return None
        units = [row.units for row in self.layers]
        active = [row.active for row in self.layers]
        names = [row.path for row in self.layers]
        return bar_chart(names, {"linear": units, "nonlinear": active})


def path_length(model: keras.Model, normalized: bool = True) -> PathLength:
    """The active units on a random path from an output of a net to an input.

    A path runs through channels; where in space it runs does not count. By
    default each term of a sum is equally likely, and each channel in a layer
    that mixes them (NAPL); otherwise each path as a whole (APL):

        convolution, Dense     e = mean of e over its inputs
        sum of k terms         e = mean of e over the terms, for each channel
        concatenation          side by side
        unit at a channel      e + 1 if it is active
        normalization, pooling, dropout, depthwise convolution: e

    and at last the mean over all channels of all outputs. A plain net of L
    units has L; one of B residual blocks of two units, activated before their
    convolutions, with a last unit after them, has B + 1. A `SparsePReLU`
    counts its active units; any other nonlinearity counts in full. Softmax
    and what is applied to an output besides ReLUs counts nothing; a layer
    that is called twice counts twice. It is exact for any depth, and takes
    seconds for a thousand layers.

    Layers made of layers are looked into; a branch that is dropped at random
    counts as it is, for it drops nothing at inference. What multiplies tensors,
    attends or loops is refused; `tfdeep.linearization.path_rule` adds a rule.

    Reference:
        Mehmeti-Goepel and Disselhoff, "Nonlinear Advantage: Trained Networks
        Might Not Be As Complex as You Think", 2023. That channels count in
        concatenations, and that zeros which fill a shortcut begin no path,
        are choices of this package.

    Args:
        model: a Functional or Sequential model, or a hand-written one that
            can be called with symbolic tensors.
        normalized: boolean, whether each branch is equally likely or each
            path.

    Returns:
        A `PathLength`: `float(r)`, `r.log_paths`, `r.layers`, `print(r)`.

    Raises:
        TypeError: if `model` is no `keras.Model`.
        ValueError: if it is not built, cannot be called with symbolic
            tensors, or holds a layer that there is no rule for.

    Example:
        >>> import keras, tfdeep
        >>> model = keras.Sequential([keras.Input((8,))])
        >>> model.add(keras.layers.Dense(4, "relu", name="one"))
        >>> model.add(keras.layers.Dense(4, "relu", name="two"))
        >>> model.add(keras.layers.Dense(3, "softmax", name="last"))
        >>> found = tfdeep.linearization.path_length(model)
        >>> float(found), found.units
        (2.0, 8)
    """
    check_boolean("normalized", normalized)
    ends, rows = traced(model)
    return PathLength(
        paths.average(ends, normalized),
        paths.log_count(ends),
        normalized,
        tuple(rows),
    )


def sample_path_length(
    model: keras.Model, walks: int = 10_000, seed: int | None = None
) -> tuple[float, float]:
    """Estimate the normalised path length by random walks.

    Each walk begins at a channel of an output and goes back, step by step, to
    an input. It is the slow reference for `path_length`.

    Args:
        model: as of `path_length`.
        walks: integer, how many.
        seed: optional integer, the seed of the walks.

    Returns:
        The mean, and its standard error.

    Raises:
        TypeError: as `path_length`.
        ValueError: as `path_length`, and for fewer than 2 walks.

    Example:
        >>> import keras, tfdeep
        >>> model = keras.Sequential([keras.Input((8,))])
        >>> model.add(keras.layers.Dense(4, "relu"))
        >>> tfdeep.linearization.sample_path_length(model, walks=100)
        (1.0, 0.0)
    """
    check_positive("walks", walks)
    if walks < 2:
        raise ValueError(
            "`walks` must be at least 2, for a standard error. Received: "
            f"walks={walks}. Pass for example 10_000."
        )
    check_seed(seed)
    ends, _ = traced(model)
    random = np.random.default_rng(seed)
    found = np.array([paths.walked(ends, random) for _ in range(walks)])
    error = found.std(ddof=1) / np.sqrt(walks)
    return float(found.mean()), float(error)


def traced(model: keras.Model) -> tuple[list[Paths], list[LayerUnits]]:
    """The paths that end in the outputs, and the units of each call."""
    graph = graph_of(without_repeat(model))
    opened: dict[int, Opened] = {}
    _open_unknown(graph.calls, opened)
    program = Program(graph.inputs, graph.outputs, graph.calls, opened)
    known: dict[Any, Paths] = {slot: begun() for slot in program.inputs}
    last = set(tree.flatten(program.outputs))
    rows: list[LayerUnits] = []
    for step in program.steps:
        if step.call is None:
            _hand_on(step, known)
            continue
        inputs = [known[slot] for slot in step.inputs if slot in known]
        if not inputs or all(each.dtype == "bool" for each in step.outputs):
            continue  # A mask, or a constant: no path runs through it.
        found = _after(step, inputs, last, rows)
        found = found if isinstance(found, list) else [found]
        known.update(zip(step.outputs, found, strict=False))
    return [known[slot] for slot in tree.flatten(program.outputs)], rows


def _hand_on(step: Step, known: dict) -> None:
    """A step that attaches masks to outputs, or takes them off."""
    if len(step.args) == 3:
        for slot, source in zip(step.outputs, step.args[1], strict=True):
            if source in known:
                known[slot] = known[source]


def _after(step: Step, inputs: list[Paths], last: set, rows: list):
    """The paths behind a step, with the units at its output counted."""
    call: Any = step.call
    rule = RULES.find(call.operation)
    try:
        if rule is None:
            raise NoRule("nothing is known of it")
        found = rule(call, *inputs)
    except (NoRule, ValueError) as error:
        raise ValueError(_unknown(call, error)) from error
    unit = unit_of(call.operation) if is_ours(rule) else None
    at_end = not last.isdisjoint(step.outputs)
    if unit is None or (at_end and unit.slope is None and not unit.removable):
        return found
    active: Any = 1.0
    if unit.removable:
        found, active = _sparse(call, found)
    units = call.operation.active.size if unit.removable else found.channels
    if found.axis is None:
        units = call.outputs[0].shape[-1] or 1
    number = call.operation.active_units if unit.removable else units
    rows.append(LayerUnits(call.path, unit.name, units, number))
    return found.through(active)


def _sparse(call: Call, x: Paths) -> tuple[Paths, np.ndarray]:
    """The share of active units of each channel of a `SparsePReLU`."""
    shape = call.inputs[0].shape
    axis = len(shape) - 1 if x.axis is None else x.axis
    x = x.at(axis, shape[axis])
    active = np.moveaxis(call.operation.active, axis - 1, 0)
    return x, active.reshape(len(active), -1).mean(1)


def _open_unknown(calls: list[Call], opened: dict[int, Opened]) -> None:
    """Open the layers that there is no rule for, at any depth."""
    for call in calls:
        operation = call.operation
        if call.parts:
            _open_unknown(call.parts, opened)
        elif (
            isinstance(operation, keras.layers.Layer)
            and RULES.find(operation) is None
        ):
            inside = _inside(call)
            if inside is None:
                continue  # It is refused where the paths meet it.
            opened[id(call)] = inside
            _open_unknown(inside.calls, opened)


def _inside(call: Call) -> Opened | None:
    """The calls within a layer, as those of a net that drops nothing."""
    if is_holder(call):
        return without_holder(call)
    try:
        return open_call(call, reads=True)
    except CannotOpen:
        return None


def _unknown(call: Call, reason: Exception) -> str:
    kind = type(call.operation).__name__
    return (
        "The model must be made of layers whose paths are known. Received: "
        f"{call.path!r}, a {kind} ({reason}). "
        "tfdeep.linearization.path_rule says what it makes of them"
    )
