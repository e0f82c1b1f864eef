"""Labels of channels, and which of them can only go together.

Every channel position of every tensor carries an integer. Labels that are
tied form a class; a class goes as a whole or not at all (disjoint sets,
Tarjan 1975, with path halving).
"""

from typing import NamedTuple

import numpy as np

FIXED = 0  # The label of a position that never goes.


class Channels(NamedTuple):
    """The channels of a tensor.

    Args:
        axis: the axis that they are on, from 0.
        labels: one for each position on it.
    """

    axis: int
    labels: np.ndarray


class Block(NamedTuple):
    """Labels that one layer brought into the world.

    Args:
        path: of the layer's first call.
        labels: one for each channel that it makes.
    """

    path: str
    labels: np.ndarray


class Labels:
    """Labels, their classes, and what is known of each class.

    Attributes:
        blocks: the blocks in the order in which they were made.

    Example:
        >>> from tfdeep.pruning.labels import Labels
        >>> labels = Labels()
        >>> a, b = labels.new("a", 3), labels.new("b", 3)
        >>> labels.tie(a, b)
        >>> labels.roots(a).tolist() == labels.roots(b).tolist()
        True
    """

    def __init__(self):
        self.parent = [FIXED]
        self.blocks: list[Block] = []
        self._frozen: dict[int, str] = {FIXED: "it is fixed"}
        self._told_first: dict[int, str] = {}
        self._mixed: dict[int, str] = {}

    def new(self, path: str, count: int) -> np.ndarray:
        """Labels of their own for so many channels."""
        first = len(self.parent)
        made = np.arange(first, first + count)
        self.parent.extend(made.tolist())
        self.blocks.append(Block(path, made))
        return made

    def root(self, label: int) -> int:
        """The label that stands for the class of another."""
        parent = self.parent
        while parent[label] != label:
            parent[label] = parent[parent[label]]
            label = parent[label]
        return label

    def roots(self, labels) -> np.ndarray:
        """`root` of each label, in the shape of the array."""
        labels = np.asarray(labels)
        if not labels.size:
            return labels
        unique, places = np.unique(labels, return_inverse=True)
        found = np.array([self.root(label) for label in unique.tolist()])
        return found[places].reshape(labels.shape)

    def table(self) -> np.ndarray:
        """`root` of every label, by the label."""
        parent = np.array(self.parent)
        while np.any(parent != (above := parent[parent])):
            parent = above
        return parent

    def tie(self, first, second) -> None:
        """Let labels at the same place of two arrays go only together."""
        first, second = np.broadcast_arrays(first, second)
        pairs = {
            *zip(first.ravel().tolist(), second.ravel().tolist(), strict=True)
        }
        for one, other in sorted(pairs):
            one, other = self.root(one), self.root(other)
            if one != other:
                # The older one stays: its layer gives the name.
                self.parent[max(one, other)] = min(one, other)

    def freeze(self, labels, reason: str, first: bool = False) -> None:
        """Let channels stay for good.

        Args:
            labels: their labels.
            reason: why.
            first: boolean, whether this reason is told before others.
        """
        reasons = self._told_first if first else self._frozen
        for label in np.unique(labels).tolist():
            reasons.setdefault(label, reason)

    def mix(self, labels, by: str) -> None:
        """Note that what is left changes where one of these channels goes."""
        for label in np.unique(labels).tolist():
            self._mixed.setdefault(label, by)

    def frozen(self) -> dict[int, str]:
        """Why a class stays, by its root; the first reason of its members."""
        first = self._by_root(self._told_first)
        return {**self._by_root(self._frozen), **first}

    def mixed(self) -> dict[int, str]:
        """What mixes the channels of a class with others, by its root."""
        return self._by_root(self._mixed)

    def _by_root(self, found: dict[int, str]) -> dict[int, str]:
        result: dict[int, str] = {}
        for label, reason in found.items():
            result.setdefault(self.root(label), reason)
        return result
