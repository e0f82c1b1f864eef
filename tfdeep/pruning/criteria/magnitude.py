"""Scores that need no data: magnitudes, scales of normalization, chance."""

import keras
import numpy as np
from keras import ops

from tfdeep.checks import check_choice, check_number, check_seed
from tfdeep.pruning.channels import ChannelGraph
from tfdeep.pruning.criteria.scores import Scores
from tfdeep.pruning.groups import ChannelGroup, Member

REDUCTIONS = {
    "mean": lambda values: values.mean(0),
    "sum": lambda values: values.sum(0),
    "max": lambda values: values.max(0),
}


def power_sums(member: Member, p: float, channels: int) -> np.ndarray:
    """sum |w|^p over the slices of each channel; no root is taken."""
    values = ops.convert_to_numpy(member.variable.value).astype("float64")
    return member.sums(np.abs(values) ** p, channels)


def is_scale(member: Member) -> bool:
    """Whether it is gamma of a batch normalization."""
    return (
        isinstance(member.layer, keras.layers.BatchNormalization)
        and member.variable is member.layer.gamma
    )


class Magnitude:
    """Weights that are small count little.

        s_c = reduce over the members of sum |w|^p

    The members of a group are the rows of kernels that make a channel, the
    columns of those that take it, and the gammas of its batch normalizations.
    Biases and depthwise kernels are not among them.

    Reference:
        Li et al., "Pruning Filters for Efficient ConvNets", 2017, section
        3.1, with `reduce="first"`; Fang et al., "DepGraph", 2023, eq. 6, with
        `"mean"`. Deviation: no p-th root, and no normalization by the mean of
        the group.

    Args:
        p: positive float. Defaults to 1.
        reduce: `"mean"`, `"sum"`, `"max"`, or `"first"`: only what makes the
            channel in the group's first layer; of a depthwise convolution
            gamma of the normalization behind it.

    Raises:
        ValueError: for other values.

    Example:
        >>> import keras, numpy as np, tfdeep
        >>> model = keras.Sequential([keras.Input((4,))])
        >>> model.add(keras.layers.Dense(3, kernel_initializer="ones",
        ...                              name="low"))
        >>> model.add(keras.layers.Dense(2, kernel_initializer="ones"))
        >>> graph = tfdeep.pruning.ChannelGraph(model)
        >>> tfdeep.pruning.Magnitude(2).scores(graph)["low"].tolist()
        [3.0, 3.0, 3.0]
        >>> tfdeep.pruning.Magnitude(2, "first").scores(graph)["low"].tolist()
        [4.0, 4.0, 4.0]
    """

    def __init__(self, p: float = 1, reduce: str = "mean"):
        check_number("p", p, 0.0, example=1)
        check_choice("reduce", reduce, (*REDUCTIONS, "first"))
        self.p = p
        self.reduce = reduce

    def scores(self, graph: ChannelGraph, x=None, y=None, **kwargs) -> Scores:
        """The scores of all free groups.

        Args:
            graph: the `ChannelGraph` of a model.
            x: not needed.
            y: not needed.
            **kwargs: `loss`, `batch_size` and `training`: not needed.
        """
        return Scores({g.name: self._of(g) for g in graph.free})

    def _of(self, group: ChannelGroup) -> np.ndarray:
        members = [m for m in group.members if m.role != "parameter"]
        members = [m for m in members if len(m.variable.shape) > 1]
        scales = [m for m in group.members if is_scale(m)]
        if self.reduce == "first":
            made = [m for m in members if m.role == "out"] + scales + members
            return power_sums(made[0], self.p, group.channels)
        found = [
            power_sums(m, self.p, group.channels) for m in [*members, *scales]
        ]
        return REDUCTIONS[self.reduce](np.array(found))


class BatchNormScale:
    """Channels whose normalization has a small scale count little.

        s_c = reduce over the batch normalizations of |gamma_c|

    Groups without a gamma are not among the scores, and keep all channels.

    Reference:
        Liu et al., "Learning Efficient Convolutional Networks through
        Network Slimming", 2017, section 3. It needs training with an L1
        penalty on gamma.

    Args:
        reduce: `"mean"`, `"sum"` or `"max"`.

    Raises:
        ValueError: for another `reduce`, or, of `scores`, if the model has no
            batch normalization with a scale.

    Example:
        >>> import keras, tfdeep
        >>> model = keras.Sequential([keras.Input((4,))])
        >>> model.add(keras.layers.Dense(3, name="low"))
        >>> model.add(keras.layers.BatchNormalization())
        >>> model.add(keras.layers.Dense(2))
        >>> graph = tfdeep.pruning.ChannelGraph(model)
        >>> tfdeep.pruning.BatchNormScale().scores(graph)["low"].tolist()
        [1.0, 1.0, 1.0]
    """

    def __init__(self, reduce: str = "mean"):
        check_choice("reduce", reduce, REDUCTIONS)
        self.reduce = reduce

    def scores(self, graph: ChannelGraph, x=None, y=None, **kwargs) -> Scores:
        """The scores of the free groups with a gamma; see `Magnitude`."""
        found = {}
        for group in graph.free:
            scales = [m for m in group.members if is_scale(m)]
            if scales:
                sums = [power_sums(m, 1, group.channels) for m in scales]
                found[group.name] = REDUCTIONS[self.reduce](np.array(sums))
        if not found:
            raise ValueError(
                "`graph` must be of a model with BatchNormalization layers "
                f"that have a scale. Received: {graph.model.name!r} without. "
                "Use Magnitude or Taylor"
            )
        return Scores(found)


class Random:
    """Chance: what any criterion has to be better than.

    Args:
        seed: optional integer.

    Example:
        >>> import keras, tfdeep
        >>> model = keras.Sequential([keras.Input((4,))])
        >>> model.add(keras.layers.Dense(3, name="low"))
        >>> model.add(keras.layers.Dense(2))
        >>> graph = tfdeep.pruning.ChannelGraph(model)
        >>> tfdeep.pruning.Random(seed=0).scores(graph)["low"].shape
        (3,)
    """

    def __init__(self, seed: int | None = None):
        check_seed(seed)
        self.seed = seed

    def scores(self, graph: ChannelGraph, x=None, y=None, **kwargs) -> Scores:
        """The scores of all free groups; see `Magnitude`."""
        rng = np.random.default_rng(self.seed)
        return Scores({g.name: rng.random(g.channels) for g in graph.free})
