"""What is linear in a model, folded away."""

import math
from dataclasses import dataclass, field, replace
from typing import Any

import keras
from keras import layers, tree

from tfdeep.checks import check_boolean
from tfdeep.graph import Call, graph_of, rewrite
from tfdeep.graph.insides import Insides
from tfdeep.graph.trace import ends
from tfdeep.graph.write_out import Twins, WriteOut
from tfdeep.inside import is_graph
from tfdeep.linearization.affine import Affine, NotExact, composed
from tfdeep.linearization.fold_report import Fold, Foldable, multiply_adds_of
from tfdeep.linearization.folded_layer import (
    affine_of,
    called,
    is_affine,
    normalization_of,
    space_of,
)
from tfdeep.linearization.linear_calls import (
    is_activated,
    is_linear,
    is_sum,
    is_unit,
    normalizes,
    of_a_kind,
)

# A kernel so much larger than its parts is not tried to be made still larger.
MOST_TIMES = 32


def fold_linear(model: keras.Model, *, always: bool = False) -> keras.Model:
    """A model for inference without what is linear in it.

    Units of a `SparsePReLU` that are all linear are left out. Convolutions or
    Dense layers in a row, with nothing nonlinear and no other user between,
    become one with a larger kernel, where that is exact and saves
    multiply-adds; a `BatchNormalization` between them, with its moving
    statistics, and a sum with their own input are folded in. Where a larger
    kernel would cost more than it saves they stay: two 3x3 convolutions of c
    channels have 18 c^2 weights, the 5x5 has 25 c^2.

        padding of first and second                exact
        valid, valid                               always
        any, 1x1 of stride 1                       always
        same, valid or 1x1 of stride above 1       with zeros put there by hand
        1x1 of stride 1, same                      if the bias between is 0
        both larger than 1x1, second same          never: wrong at borders

    Outputs are those of the model at inference, within 1e-5. The new model may
    be trained on, but not as the given one would: kernels are products, and
    statistics no longer move. `tfdeep.linearization.foldable` tells what is
    folded, what is left and why, and what that saves.

    Reference:
        Mehmeti-Goepel and Disselhoff, "Nonlinear Advantage", 2023; Ben Dror
        et al., "Layer Folding: Neural Network Depth Reduction using
        Activation Linearization", 2021, whose folds are inexact at borders.

    Args:
        model: a built model; it stays as it is.
        always: boolean, whether to fold wherever it is exact, even if it
            costs more.

    Returns:
        A new model, compiled if the model is.

    Raises:
        TypeError: for another kind of model.
        ValueError: if the model cannot be rewritten; see
            `tfdeep.graph.rewrite`.

    Example:
        >>> import keras, tfdeep
        >>> model = keras.Sequential([keras.Input((8,))])
        >>> model.add(keras.layers.Dense(64, name="wide"))
        >>> model.add(keras.layers.Dense(4, name="last"))
        >>> new = tfdeep.linearization.fold_linear(model)
        >>> [layer.name for layer in new.layers], new.count_params()
        (['wide'], 36)
    """
    return _folded(model, always)[0]


def foldable(model: keras.Model, *, always: bool = False) -> Foldable:
    """What `tfdeep.linearization.fold_linear` does to a model, and why.

    Args:
        model: a built model; it stays as it is.
        always: boolean, as of `fold_linear`.

    Returns:
        A `Foldable`: `.units`, `.folded`, `.left`, `.parameters` and
        `.multiply_adds` before and after; `print` shows it, and `.measure(x)`
        times both.

    Raises:
        TypeError: for another kind of model.
        ValueError: if the model cannot be rewritten; see
            `tfdeep.graph.rewrite`.

    Example:
        >>> import keras, tfdeep
        >>> model = keras.Sequential([keras.Input((9, 9, 4))])
        >>> model.add(keras.layers.Conv2D(4, 3, name="one"))
        >>> model.add(keras.layers.Conv2D(4, 3, name="two"))
        >>> print(tfdeep.linearization.foldable(model))
        0 linear units are left out
        one + two become a Conv2D of 5x5: 10,656 -> 10,000 multiply-adds
        in all 296 -> 404 parameters, 10,656 -> 10,000 multiply-adds
    """
    new, found = _folded(model, always)
    before, after = map(multiply_adds_of, (model, new))
    return Foldable(
        tuple(found.units),
        tuple(found.folded),
        tuple(found.left),
        (model.count_params(), new.count_params()),
        None if before is None or after is None else (before, after),
        (model, new),
    )


def _folded(model: keras.Model, always: bool) -> tuple:
    """The new model, and the edit that made it."""
    check_boolean("always", always)
    given = model
    if isinstance(model, keras.Model) and not is_graph(model):
        given = rewrite(model)  # One whose calls are always the same.
    graph = graph_of(given)
    edit = _Folding(graph.calls, graph.outputs, always)
    writer = WriteOut(edit.folds_within, edit, edit.twins, edit.insides)
    return rewrite(graph, writer), edit


@dataclass(eq=False)
class _Row:
    """Layers in a row that become one.

    Args:
        calls: what is folded so far, the first one with weights.
        affine: what it computes.
        last: the last call with weights.
        cost: the multiply-adds of all of them.
        cheapest: the same, with what was folded so far.
        pays: whether it is more than the first call, and is worth it.
        through: the input that a sum hands on, by the `id` of its call.
    """

    calls: list[Call]
    affine: Affine
    last: Call
    cost: float
    cheapest: float
    pays: bool = False
    through: dict[int, Any] = field(default_factory=dict)

    def take(self, calls: list[Call], affine: Affine) -> None:
        """Fold further calls in."""
        self.calls = [*self.calls, *calls]
        self.affine = affine


class _Folding:
    """The edit that folds.

    Args:
        calls: the calls of the model.
        outputs: its symbolic outputs.
        always: as of `fold_linear`.

    Attributes:
        units, folded, left: as of `Foldable`.
    """

    def __init__(self, calls: list[Call], outputs: Any, always: bool):
        self.always = always
        self.units: list[str] = []
        self.folded: list[Fold] = []
        self.left: list[Fold] = []
        self.heads: dict[int, _Row] = {}  # By the `id` of the first call.
        self.gone: dict[int, Any] = {}  # The input that a call hands on.
        self.models: dict[int, bool] = {}  # Whether there is a fold within.
        self.around: set[int] = set()  # Outputs of layers with one within.
        self.insides = Insides()
        self.twins = Twins(each.operation.name for each in calls)
        self.seen: list[Call] = []  # Whose ids must stay theirs.
        self._plan(calls, outputs)

    def folds_within(self, call: Call) -> bool:
        """Whether something is folded within the layer of a call."""
        return id(call.outputs[0]) in self.around

    def __call__(self, call: Call, args: tuple, kwargs: dict):
        key = id(call.outputs[0])
        if key in self.heads:
            name = self.twins.name_of(call)
            return self._called(self.heads[key], args[0], name)
        if key in self.gone:
            new = [
                each
                for each in tree.flatten((args, kwargs))
                if isinstance(each, keras.KerasTensor)
            ]
            old = [id(each) for each in call.inputs]
            return new[old.index(id(self.gone[key]))]
        return None

    def _plan(self, calls: list[Call], outputs: Any) -> bool:
        """Find what is folded in a model, and in what is within it."""
        self.seen += calls
        before = len(self.heads), len(self.gone)
        users: dict[int, list[Call]] = {}
        for call in calls:
            for tensor in call.inputs:
                users.setdefault(id(tensor), []).append(call)
            if self._plan_within(call):
                self.around.add(id(call.outputs[0]))
            if is_unit(call.operation) and is_linear(call.operation):
                self.units.append(call.path)
                self.gone[id(call.outputs[0])] = call.inputs[0]
        kept = {id(tensor) for tensor in tree.flatten(outputs)}
        done: set[int] = set()
        for call in calls:
            if id(call) not in done and is_affine(call.operation):
                row = self._row(call, users, kept)
                done.update(map(id, row.calls))
                if row.pays:
                    self._fold(row)
        return before != (len(self.heads), len(self.gone))

    def _plan_within(self, call: Call) -> bool:
        """Find what is folded within a call; return whether anything is."""
        key = id(call.operation)
        if call.parts:
            if key not in self.models:
                results = ends(call.operation)[1]
                self.models[key] = self._plan(call.parts, results)
            return self.models[key]
        inside = self.insides.of(call)
        return inside is not None and self._plan(inside.calls, inside.outputs)

    def _called(self, row: _Row, inputs: Any, name: str) -> Any:
        first, last = row.calls[0].operation, row.last.operation
        return called(row.affine, first, last, inputs, name)

    def _fold(self, row: _Row) -> None:
        first, *rest = row.calls
        self.heads[id(first.outputs[0])] = row
        for call in rest:
            handed_on = row.through.get(id(call), call.inputs[0])
            self.gone[id(call.outputs[0])] = handed_on
        shown = (round(row.cost), round(_after(row)))
        self.folded.append(Fold(_paths(row.calls), _kind(row.affine), shown))

    def _row(self, call: Call, users: dict, kept: set) -> _Row:
        """As many calls as become one with the given one, where that pays.

        What does not pay by itself may do so with what follows: it is folded
        on trial, as long as nothing before it does.
        """
        cost = _cost(call, math.prod(call.operation.kernel.shape))
        best = row = _Row([call], affine_of(call), call, cost, cost)
        affine, tensor = row.affine, call.outputs[0]
        passed: list[Call] = []
        doubts: list[Fold] = []
        while not is_activated(row.last):
            after = users.get(id(tensor), [])
            if len(after) != 1 or id(tensor) in kept:
                break
            (following,) = after
            operation = following.operation
            passed = [*passed, following]
            if normalizes(following, row.last):
                affine = affine.scaled(*normalization_of(operation))
            elif not is_linear(operation):
                try:
                    row = self._longer(row, affine, passed, tensor)
                except NotExact as reason:
                    if reason.args:
                        paths = _paths([*row.calls, *passed])
                        doubts.append(Fold(paths, "", None, str(reason)))
                    break
                affine, passed = row.affine, []
                if row.pays:
                    best, doubts = row, []
                else:
                    doubts.append(_too_costly(row))
                    larger = row.affine.kernel.size > MOST_TIMES * _size(row)
                    # What follows something worthwhile may do so by itself.
                    if best.pays or larger:
                        break
            tensor = following.outputs[0]
        self.left += doubts[:1]
        return best

    def _longer(self, row: _Row, affine: Affine, calls: list, tensor) -> _Row:
        """The row with one more layer, or with a sum with its input.

        Raises:
            NotExact: if it is not one; without a reason if there is nothing
                that might be folded.
        """
        following = calls[-1]
        operation = following.operation
        if is_sum(following):
            (other,) = [t for t in following.inputs if t is not tensor] or [0]
            if other is not row.calls[0].inputs[0]:
                raise NotExact
            longer = replace(row, through={**row.through})
            longer.through[id(following)] = tensor
            longer.take(calls, affine.with_identity())
            longer.pays = row.pays or len(row.calls) == 1
            return longer
        if not is_affine(operation):
            if isinstance(operation, layers.Dropout):
                raise NotExact("dropout lies between, which acts in training")
            raise NotExact
        if not of_a_kind(row.last, following):
            raise NotExact("they are of two kinds")
        both = composed(affine, affine_of(following))
        growth = _growth(row.last, following)
        more = _cost(following, math.prod(operation.kernel.shape))
        longer = replace(
            row,
            last=following,
            cost=row.cost * growth + more,
            cheapest=row.cheapest * growth + more,
        )
        longer.take(calls, both)
        longer.pays = self.always or _after(longer) < longer.cheapest
        if longer.pays:
            longer.cheapest = _after(longer)
        return longer


def _after(row: _Row) -> float:
    """The multiply-adds of what a row becomes."""
    return _cost(row.last, row.affine.kernel.size)


def _size(row: _Row) -> int:
    """The weights of the kernels of a row."""
    weighted = [c for c in row.calls if is_affine(c.operation)]
    return sum(math.prod(c.operation.kernel.shape) for c in weighted)


def _too_costly(row: _Row) -> Fold:
    costs = (round(row.cost), round(_after(row)))
    why = f"one kernel costs more, {costs[1]:,} instead of {costs[0]:,}"
    return Fold(_paths(row.calls), _kind(row.affine), costs, why)


def _places(call: Call) -> int | None:
    """The number of places of the output; `None` where it is unknown."""
    space = space_of(call.outputs[0], call.operation)
    return None if None in space else math.prod(space)


def _cost(call: Call, size: int) -> float:
    """Multiply-adds of a kernel of some size at the output of a call.

    Where sizes are unknown it is that of one place.
    """
    return float(size * (_places(call) or 1))


def _growth(last: Call, following: Call) -> int:
    """What a cost is multiplied with where it is that of one place."""
    if _places(last) is not None:
        return 1
    return math.prod(getattr(following.operation, "strides", (1,)))


def _paths(calls: list[Call]) -> tuple[str, ...]:
    return tuple(c.path for c in calls if not is_unit(c.operation))


def _kind(affine: Affine) -> str:
    """What a row becomes, in words."""
    if not affine.sizes:
        return "a Dense"
    sizes = "x".join(map(str, affine.sizes))
    padded = ", with zeros put around" if affine.pads else ""
    return f"a Conv{len(affine.sizes)}D of {sizes}{padded}"
