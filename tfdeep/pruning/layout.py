"""Where the channels of a model lie in the weights that it trains.

An optimizer sees weights in their order, and no layers. A layout says which
slices of which of them belong to which channel, in the types of JSON.
"""

from collections.abc import Iterable
from typing import Any

import keras
import numpy as np
from keras import ops

from tfdeep.pruning.channels import ChannelGraph
from tfdeep.pruning.criteria.magnitude import is_scale
from tfdeep.pruning.groups import ChannelGroup, Member
from tfdeep.pruning.plan import PruningPlan

FORMS = ("batch_norm", "weight")


class Layout:
    """The channels of a model by the weights that it trains.

    Channels are counted through all groups that can lose some. A group is
    left out where a weight of it is frozen, or its form of scores needs a
    weight that it has not.

    Args:
        content: what `Layout.of(...).content` is: `weights`, pairs of the end
            of the path and the shape; `groups`, each with `name`, `channels`
            and `members`, lists of the place of the weight, the axis, whether
            it gives scores, and the channel of each slice (-1 for none), or
            `None` where they are in order; `exclude` and `fingerprint`, as of
            a plan.

    Attributes:
        channels: integer, how many there are.
        owner: for each of them the number of its group.
        groups: list of `(name, channels)`.
    """

    def __init__(self, content: dict):
        self.content = content
        sizes = [group["channels"] for group in content["groups"]]
        self.groups = [(g["name"], g["channels"]) for g in content["groups"]]
        self.channels = sum(sizes)
        self.owner = np.repeat(np.arange(len(sizes)), sizes)
        self.axes: dict[int, dict[int, np.ndarray]] = {}
        self.scored: dict[tuple[int, int], np.ndarray] = {}
        begin = 0
        for group in content["groups"]:
            for place, axis, scored, slices in group["members"]:
                length = content["weights"][place][1][axis]
                numbers = np.arange(length) if slices is None else slices
                numbers = np.asarray(numbers)
                mine = numbers >= 0
                found = [self.axes.setdefault(place, {})]
                rows = found[0].setdefault(axis, np.full(length, self.channels))
                rows[mine] = begin + numbers[mine]
                if scored:
                    self.scored[place, axis] = rows
            begin += group["channels"]

    @classmethod
    def of(cls, model: keras.Model, form: str, exclude: Iterable) -> "Layout":
        """The layout of a model.

        Raises:
            TypeError: if `model` is no `keras.Model`.
            ValueError: if it is not built, or no group can lose channels.
        """
        graph = ChannelGraph(model, exclude=exclude)
        weights = list(model.trainable_variables)
        number = {id(v): place for place, v in enumerate(weights)}
        groups = [_group(g, number, form) for g in graph.free]
        groups = [group for group in groups if group is not None]
        if not groups:
            raise ValueError(
                "`model` must have channels that can go, whose weights all "
                "train, with a BatchNormalization for form='batch_norm'. "
                f"Received: model={model.name!r} with form={form!r}, which "
                "has none"
            )
        return cls(
            {
                "weights": [[_end(v), list(v.shape)] for v in weights],
                "groups": groups,
                "exclude": [
                    each if isinstance(each, str) else each.name
                    for each in graph.exclude
                ],
                "fingerprint": graph.fingerprint(),
            }
        )

    def fits(self, variables: list) -> bool:
        """Whether variables are those of the model, or of a copy of it."""
        return self._found(variables) == self.content["weights"]

    def check(self, variables: list) -> None:
        """Raise `ValueError` unless `fits(variables)`."""
        wanted, found = self.content["weights"], self._found(variables)
        if found == wanted:
            return
        pairs = zip(wanted, found, strict=False)
        one, other = next(
            (pair for pair in pairs if pair[0] != pair[1]),
            (f"{len(wanted)} weights", f"{len(found)} weights"),
        )
        raise ValueError(
            "`variables` must be the trainable variables of the `model` that "
            "the optimizer was made for, in their order. Received: "
            f"{other} in place of {one}. Make the optimizer for the model "
            "that it trains, after layers are frozen"
        )

    @staticmethod
    def _found(variables: list) -> list:
        return [[_end(v), list(v.shape)] for v in variables]

    def per_channel(self, values: dict[tuple[int, int], Any]):
        """Values of the slices that give scores, summed up for each channel.

        Args:
            values: a tensor for each key of `scored`.
        """
        alike: dict[bytes, list] = {}
        for key, rows in self.scored.items():
            alike.setdefault(rows.tobytes(), [rows]).append(values[key])
        # Scale and shift of a normalization are of the same channels.
        sums = [(rows, sum(parts)) for rows, *parts in alike.values()]
        numbers = np.concatenate([rows for rows, _ in sums])
        joined = ops.concatenate([value for _, value in sums])
        if np.array_equal(numbers, np.arange(self.channels)):
            return joined
        found = ops.segment_sum(joined, numbers, self.channels + 1)
        return found[: self.channels]

    def factors(self, kept) -> dict[int, Any]:
        """What weights are multiplied by to mask channels, by their place.

        Args:
            kept: 1 for each channel that stays, else 0.
        """
        padded = ops.concatenate([kept, ops.ones((1,), kept.dtype)])
        found = {}
        for place, axes in self.axes.items():
            rank = len(self.content["weights"][place][1])
            factor: Any = 1.0
            for axis, rows in axes.items():
                shape = [1] * rank
                shape[axis] = -1
                factor = factor * ops.reshape(ops.take(padded, rows), shape)
            found[place] = factor
        return found

    def widths(self, kept: np.ndarray) -> dict[str, int]:
        """How many channels of each group stay."""
        counts = np.bincount(self.owner, kept, minlength=len(self.groups))
        pairs = zip(self.groups, counts, strict=True)
        return {name: int(count) for (name, _), count in pairs}

    def plan(self, model: keras.Model, kept: np.ndarray) -> PruningPlan:
        """The plan of the channels that do not stay.

        Raises:
            ValueError: if the model is another one.
        """
        graph = ChannelGraph(model, exclude=self.content["exclude"])
        if graph.fingerprint() != self.content["fingerprint"]:
            raise ValueError(
                "`model` must be the one that the optimizer was made for, or "
                f"a copy of it. Received: model={model.name!r}, which has "
                "other channels"
            )
        removed = {
            name: np.flatnonzero(kept[self.owner == number] == 0).tolist()
            for number, (name, _) in enumerate(self.groups)
        }
        return PruningPlan(removed, graph)


def _end(variable: keras.Variable) -> str:
    """The end of a path, which a model that is loaded has as well."""
    return "/".join(variable.path.split("/")[-2:])


def _group(group: ChannelGroup, number: dict, form: str) -> dict | None:
    """A group as the members that train; `None` if it has to stay."""
    members = []
    for member in group.members:
        place = number.get(id(member.variable))
        if place is None:
            if _is_statistic(member):
                continue
            return None
        in_order = np.array_equal(member.places, np.arange(group.channels))
        members.append(
            [
                place,
                member.axis,
                _gives_scores(member, form),
                None if in_order else member.places.tolist(),
            ]
        )
    if not any(scored for _, _, scored, _ in members):
        return None
    return {
        "name": group.name,
        "channels": group.channels,
        "members": members,
    }


def _is_statistic(member: Member) -> bool:
    """Whether it never trains: it may stay as it is."""
    layer, variable = member.layer, member.variable
    return isinstance(layer, keras.layers.BatchNormalization) and (
        variable is not layer.gamma and variable is not layer.beta
    )


def _gives_scores(member: Member, form: str) -> bool:
    if form == "weight":
        return member.role == "out" and len(member.variable.shape) > 1
    is_shift = (
        isinstance(member.layer, keras.layers.BatchNormalization)
        and member.variable is member.layer.beta
    )
    return is_scale(member) or is_shift
