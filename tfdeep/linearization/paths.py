"""Random paths through the channels of a net, and the units they meet.

Of each channel c of a tensor three numbers are known:

    e[c]   the expected number of active units on a random path from c to an
           input: at a sum each term is equally likely, at a layer that mixes
           channels each channel
    n[c]   the number of paths
    s[c]   the active units on a path from c, on average over all n[c] paths

n overflows in deep nets, so its logarithm is kept. A channel of n = 0, such
as one that a shortcut fills with zeros, begins no path, and none enters it.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

Step = Callable[[int, np.random.Generator], tuple[int, int, int]]


class Paths:
    """The paths that end in the channels of a tensor.

    The methods say what a layer makes of them, and return new ones.

    Args:
        expected: (channels,) e.
        log_paths: (channels,) log n.
        units: (channels,) s.
        axis: integer, the axis of the channels in the tensor, the batch
            counted; `None` for an input, which has a path to itself in each
            channel of any axis.
        parents: what they are made of.
        step: function from a channel and a generator of random numbers to the
            number of a parent, its channel, and the active units passed: one
            step of a random path.
    """

    def __init__(
        self,
        expected: Any,
        log_paths: Any,
        units: Any,
        axis: int | None,
        parents: Sequence["Paths"] = (),
        step: Step | None = None,
    ):
        self.expected = np.asarray(expected, "float64")
        self.log_paths = np.asarray(log_paths, "float64")
        self.units = np.asarray(units, "float64")
        self.axis = axis
        self.parents = tuple(parents)
        self.step = step

    @property
    def channels(self) -> int:
        """The number of channels; 1 for an input, which has any."""
        return len(self.expected)

    @property
    def alive(self) -> np.ndarray:
        """(channels,), where there is a path."""
        return self.log_paths > -np.inf

    def at(self, axis: int, size: int) -> "Paths":
        """The same with so many channels on an axis.

        Raises:
            ValueError: if the channels are elsewhere, or others.
        """
        if self.axis is None:
            return self.taken([0] * size, axis)
        if self.axis != axis or self.channels != size:
            raise ValueError(
                f"{self.channels} channels on axis {self.axis} of a tensor are "
                f"taken for {size} on axis {axis}"
            )
        return self

    def taken(
        self, channels: Sequence[int] | np.ndarray, axis: int | None = None
    ) -> "Paths":
        """Some channels in another order, or several times.

        Args:
            channels: which channel each new one is; -1 for none.
            axis: where they are now, by default where they were.
        """
        index = np.asarray(channels, int)
        gone = index < 0

        def of(values, nothing):
            return np.where(gone, nothing, values[index])

        return Paths(
            of(self.expected, 0.0),
            of(self.log_paths, -np.inf),
            of(self.units, 0.0),
            self.axis if axis is None else axis,
            [self],
            lambda channel, random: (0, int(index[channel]), 0),
        )

    def mixed(
        self, size: int, groups: int = 1, axis: int | None = None
    ) -> "Paths":
        """What a convolution or matrix product makes of them.

        Args:
            size: the number of new channels.
            groups: how many groups of channels are mixed by themselves.
            axis: where the new channels are, by default where they were.
        """
        width, repeats = self.channels // groups, size // groups
        rows = [slice(g * width, (g + 1) * width) for g in range(groups)]
        means = [_mean(self.expected[row], self.alive[row]) for row in rows]
        sums = [_sum(self.log_paths[row], self.units[row]) for row in rows]

        def step(channel, random):
            group = channel // repeats
            (open_,) = np.nonzero(self.alive[rows[group]])
            return 0, group * width + int(random.choice(open_)), 0

        return Paths(
            np.repeat(means, repeats),
            np.repeat([log for log, _ in sums], repeats),
            np.repeat([units for _, units in sums], repeats),
            self.axis if axis is None else axis,
            [self],
            step,
        )

    def through(self, active: Any = 1.0) -> "Paths":
        """What a unit at each channel makes of them.

        Args:
            active: whether the units are nonlinear: for all channels, or for
                each, a number from 0 to 1, the share of its positions.
        """
        active = np.broadcast_to(
            np.asarray(active, "float64"), self.expected.shape
        )
        return Paths(
            self.expected + active,
            self.log_paths,
            self.units + active,
            self.axis,
            [self],
            lambda channel, random: (
                *(0, channel),
                int(random.random() < active[channel]),
            ),
        )


def added(terms: Sequence[Paths]) -> Paths:
    """The paths of a sum: each term is equally likely, channel by channel.

    Args:
        terms: those of the terms, with equal channels.
    """
    axis, size = next(
        ((t.axis, t.channels) for t in terms if t.axis is not None), (None, 1)
    )
    if axis is not None:
        terms = [term.at(axis, size) for term in terms]
    expected = np.stack([term.expected for term in terms])
    alive = np.stack([term.alive for term in terms])
    logs = np.stack([term.log_paths for term in terms])
    units = np.stack([term.units for term in terms])
    sums = [_sum(logs[:, c], units[:, c]) for c in range(size)]

    def step(channel, random):
        (open_,) = np.nonzero(alive[:, channel])
        return int(random.choice(open_)), channel, 0

    return Paths(
        [_mean(expected[:, c], alive[:, c]) for c in range(size)],
        [log for log, _ in sums],
        [mean for _, mean in sums],
        axis,
        terms,
        step,
    )


def joined(parts: Sequence[Paths]) -> Paths:
    """The paths of tensors that are concatenated along their channels."""
    starts = np.cumsum([0, *(part.channels for part in parts)])

    def step(channel, random):
        part = int(np.searchsorted(starts, channel, "right")) - 1
        return part, channel - int(starts[part]), 0

    return Paths(
        np.concatenate([part.expected for part in parts]),
        np.concatenate([part.log_paths for part in parts]),
        np.concatenate([part.units for part in parts]),
        parts[0].axis,
        parts,
        step,
    )


def begun() -> Paths:
    """The paths of an input: one in each channel, without a unit."""
    return Paths([0.0], [0.0], [0.0], None)


def average(ends: Sequence[Paths], normalized: bool) -> float:
    """The units on a path from any channel of some tensors, on average."""
    if normalized:
        expected = np.concatenate([end.expected for end in ends])
        alive = np.concatenate([end.alive for end in ends])
        return _mean(expected, alive)
    return _over_all(ends)[1]


def log_count(ends: Sequence[Paths]) -> float:
    """The logarithm of the number of paths that end in some tensors."""
    return _over_all(ends)[0]


def walked(ends: Sequence[Paths], random: np.random.Generator) -> int:
    """The number of active units on one random path, step by step."""
    starts = [
        (end, channel) for end in ends for channel in np.nonzero(end.alive)[0]
    ]
    node, channel = starts[random.integers(len(starts))]
    found = 0
    while node.step is not None:
        parent, channel, units = node.step(channel, random)
        node, found = node.parents[parent], found + units
    return found


def _over_all(ends) -> tuple[float, float]:
    return _sum(
        np.concatenate([end.log_paths for end in ends]),
        np.concatenate([end.units for end in ends]),
    )


def _mean(values: np.ndarray, alive: np.ndarray) -> float:
    return float(values[alive].mean()) if alive.any() else 0.0


def _sum(log_paths: np.ndarray, units: np.ndarray) -> tuple[float, float]:
    """log of the sum of n, and the mean of s weighted with n."""
    highest = log_paths.max()
    if highest == -np.inf:
        return -np.inf, 0.0
    weights = np.exp(log_paths - highest)
    total = weights.sum()
    return float(highest + np.log(total)), float(weights @ units / total)
