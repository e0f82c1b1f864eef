"""Channels that go together, and the slices of weights that go with them."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np


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


def groups_of(record, table: np.ndarray) -> list[ChannelGroup]:
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
