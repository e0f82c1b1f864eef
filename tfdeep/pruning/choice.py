"""Which channels go: by a share, by a threshold, or down to a budget."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from fractions import Fraction
from numbers import Integral, Real
from typing import Any

import numpy as np

from tfdeep.checks import check_boolean, check_positive
from tfdeep.pruning.channels import ChannelGraph
from tfdeep.pruning.cost import Costs
from tfdeep.pruning.groups import ChannelGroup
from tfdeep.pruning.plan import PruningPlan, gone_in

SCOPES = ("global", "local")


def gone_of(count: int, ratio: float) -> int:
    """n - floor(n (1 - ratio)), in whole numbers: of 10, .9 are 9."""
    return count - math.floor(count * (1 - Fraction(str(float(ratio)))))


def chosen(
    graph: ChannelGraph,
    scores: Mapping,
    *,
    ratio: float | None,
    budgets: dict[str, Any],
    scope: Any,
    floors: tuple[int, float],
    round_to: int,
    exclude: Iterable,
    exact_only: bool,
) -> PruningPlan:
    """The plan of `ChannelGraph.plan`, which says what the arguments are."""
    min_channels, max_ratio = floors
    _check_target(ratio, budgets, scope)
    check_positive("min_channels", min_channels)
    check_positive("round_to", round_to)
    check_boolean("exact_only", exact_only)
    _check_ratio("max_ratio", max_ratio)
    found = _checked(graph, scores)
    if exact_only:
        _check_exact(graph, scope)
        found = {g: s for g, s in found.items() if g.exact}
    excluded = graph.excluded(exclude)
    order = _Order(found, excluded)
    left = _Floors(graph, found, min_channels, max_ratio)
    if isinstance(scope, Mapping):
        ranked = order.shares(_ratios(graph, found, scope))
    elif ratio is not None and scope == "local":
        ranked = order.shares(dict.fromkeys(found, ratio))
    elif ratio is not None:
        total = sum(group.channels for group in found)
        ranked = order.ranked()[: gone_of(total, ratio)]
    else:
        ranked = order.by_rank() if scope == "local" else order.ranked()
    accepted = [item for item in ranked if left.allows(item)]
    name, budget = next(
        ((n, b) for n, b in budgets.items() if b is not None), ("", None)
    )
    if budget is None:
        return PruningPlan(_removed(accepted, round_to), graph)
    return _within(graph, accepted, round_to, name, budget)


def _within(graph, accepted, round_to, name: str, budget) -> PruningPlan:
    """The fewest channels without which the model is in a budget."""
    costs = Costs(graph)
    if name == "max_multiply_adds" and costs.unknown:
        raise ValueError(
            "`max_multiply_adds` needs a model whose multiply-adds are "
            f"known. Received: unknown ones of {costs.unknown[0]}"
        )
    cost = getattr(costs, name.removeprefix("max_"))

    def after(count: int) -> int:
        return cost(gone_in(graph, _removed(accepted[:count], round_to)))

    limit = budget
    if isinstance(budget, float):
        limit = math.floor(Fraction(str(budget)) * cost())
    low, high = 0, len(accepted)
    least = after(high)
    if least > limit:
        raise ValueError(
            f"`{name}` must be within reach: with these floors and exclusions "
            f"the least possible is {least:,} of {cost():,}. Received: "
            f"{name}={budget}"
        )
    while low < high:
        middle = (low + high) // 2
        if after(middle) <= limit:
            high = middle
        else:
            low = middle + 1
    return PruningPlan(_removed(accepted[:low], round_to), graph)


def _removed(accepted: list[tuple], round_to: int) -> dict[str, list[int]]:
    """Channels by group, without those that rounding up gives back."""
    found: dict[ChannelGroup, list[int]] = {}
    for group, channel in accepted:
        found.setdefault(group, []).append(channel)
    removed = {}
    for group, channels in found.items():
        kept = group.channels - len(channels)
        kept = min(-(-kept // round_to) * round_to, group.channels)
        removed[group.name] = channels[: group.channels - kept]
    return removed


class _Order:
    """Channels, those that go first before others.

    Args:
        scores: an array for each group.
        excluded: the roots of channels that stay.
    """

    def __init__(self, scores: dict[ChannelGroup, np.ndarray], excluded: set):
        self.queues = {
            group: [
                (float(values[channel]), channel)
                for channel in np.argsort(values, kind="stable").tolist()
                if group.roots[channel] not in excluded
            ]
            for group, values in scores.items()
        }

    def ranked(self) -> list[tuple]:
        """By score, whatever the group."""
        every = [
            (score, number, group, channel)
            for number, (group, queue) in enumerate(self.queues.items())
            for score, channel in queue
        ]
        every.sort(key=lambda each: each[:2])
        return [(group, channel) for _, _, group, channel in every]

    def by_rank(self) -> list[tuple]:
        """By the share of the group that goes before."""
        every = [
            ((place + 1) / group.channels, number, group, channel)
            for number, (group, queue) in enumerate(self.queues.items())
            for place, (_, channel) in enumerate(queue)
        ]
        every.sort(key=lambda each: each[:2])
        return [(group, channel) for _, _, group, channel in every]

    def shares(self, ratios: dict[ChannelGroup, float]) -> list[tuple]:
        """A share of each group."""
        return [
            (group, channel)
            for group, ratio in ratios.items()
            for _, channel in self.queues[group][
                : gone_of(group.channels, ratio)
            ]
        ]


class _Floors:
    """What each layer keeps at least.

    Args:
        graph: the `ChannelGraph`.
        groups: the groups that channels may go from.
        min_channels: what each layer keeps at least.
        max_ratio: the share of it that goes at most.
    """

    def __init__(self, graph: ChannelGraph, groups, min_channels, max_ratio):
        self.left: list[int] = []  # How many of each part may still go.
        self.parts: dict[int, list[tuple[int, int]]] = {}
        most = Fraction(str(float(max_ratio)))
        record = graph.tracer.record
        for labels in [*record.made.values(), *(g.roots for g in groups)]:
            least = max(
                min_channels, len(labels) - math.floor(len(labels) * most)
            )
            self._add(graph.roots(labels), least)
        for axis in graph.axes:
            self._add(graph.roots(axis.labels), 1)

    def _add(self, roots, least: int) -> None:
        number = len(self.left)
        self.left.append(len(roots) - least)
        for root, count in Counter(roots.tolist()).items():
            self.parts.setdefault(root, []).append((number, count))

    def allows(self, item: tuple) -> bool:
        """Whether a channel may go; it has gone then."""
        group, channel = item
        parts = self.parts.get(int(group.roots[channel]), ())
        if any(self.left[number] < count for number, count in parts):
            return False
        for number, count in parts:
            self.left[number] -= count
        return True


def _check_target(ratio, budgets: dict, scope) -> None:
    local = isinstance(scope, Mapping)
    given = {"ratio": ratio, **budgets, "scope": scope if local else None}
    given = {n: value for n, value in given.items() if value is not None}
    if len(given) != 1:
        raise ValueError(
            "Exactly one of `ratio`, `max_parameters`, `max_multiply_adds` "
            "and a dict as `scope` must be given. Received: "
            f"{', '.join(given) or 'none of them'}"
        )
    if not local and scope not in SCOPES:
        raise ValueError(
            f"`scope` must be one of {SCOPES} or a dict from patterns to "
            f"ratios. Received: scope={scope!r}"
        )
    if ratio is not None:
        _check_ratio("ratio", ratio)
    for pattern, value in scope.items() if local else ():
        _check_ratio(f"scope[{pattern!r}]", value)
    for name, value in budgets.items():
        whole = isinstance(value, Integral) and not isinstance(value, bool)
        if value is not None and not (
            (whole and value > 0)
            or (isinstance(value, float) and 0 < value <= 1)
        ):
            raise ValueError(
                f"`{name}` must be a positive integer, or the fraction that "
                f"remains, in (0, 1]. Received: {name}={value!r}"
            )


def _check_ratio(name: str, value: Any) -> None:
    number = isinstance(value, Real) and not isinstance(value, bool)
    if not number or not 0 <= value < 1:
        raise ValueError(
            f"`{name}` must be a number in [0, 1): the share that goes. "
            f"Received: {name}={value!r}"
        )


def _checked(graph: ChannelGraph, scores: Any) -> dict:
    """The scores of free groups, as arrays."""
    if not isinstance(scores, Mapping):
        raise TypeError(
            "`scores` must be Scores, or a dict from names of groups to "
            f"arrays. Received: {type(scores).__name__}"
        )
    groups = {group.name: group for group in graph.groups}
    unknown = [name for name in scores if name not in groups]
    if unknown:
        raise ValueError(
            "`scores` must have names of groups of this model, such as "
            f"{', '.join(list(groups)[:3])}. Received: {unknown[0]!r}"
        )
    found = {}
    for group in graph.free:
        if group.name not in scores:
            continue
        values = np.asarray(scores[group.name], "float64")
        if values.shape != (group.channels,) or np.isnan(values).any():
            raise ValueError(
                f"`scores[{group.name!r}]` must have a number for each of "
                f"{group.channels} channels. Received: shape {values.shape}"
                f"{', with NaN' if np.isnan(values).any() else ''}"
            )
        found[group] = values
    return found


def _ratios(graph: ChannelGraph, found, scope: Mapping) -> dict:
    """The ratio of each group that a pattern means; the first counts."""
    result: dict[ChannelGroup, float] = {}
    for pattern, ratio in scope.items():
        meant = graph.excluded([pattern])
        for group in found:
            if meant.intersection(group.roots.tolist()):
                result.setdefault(group, ratio)
    return result


def _check_exact(graph: ChannelGraph, scope: Any) -> None:
    """Raise where what is not exact is asked for by name."""
    for pattern, ratio in scope.items() if isinstance(scope, Mapping) else ():
        meant = graph.excluded([pattern])
        for group in graph.free:
            inside = meant.intersection(group.roots.tolist())
            if ratio and inside and not group.exact:
                raise ValueError(
                    "`scope` must name exact groups with exact_only=True. "
                    f"Received: {pattern!r}, which means {group.name!r}: "
                    f"{group.mixed_by} mixes its channels"
                )
