"""Stochastic depth and drop path in a model that one already has, and out.

A residual branch becomes one layer around a model of the branch, so that a
skipped one is not computed; drop path is a layer at the branch's end. Drop
path of the model's own is set aside and put back when ours is removed.
"""

import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

import keras
from keras import tree

from tfdeep.checks import check_boolean, check_probability, check_seed
from tfdeep.graph import (
    Call,
    Edited,
    Graph,
    Instead,
    Section,
    graph_of,
    rewrite,
)
from tfdeep.graph.branches import Branch, branches_of
from tfdeep.graph.twins import twin_of
from tfdeep.inside import is_graph
from tfdeep.keras_internals import layers_of
from tfdeep.layers.retrofitted import (
    AddedDropPath,
    AddedStochasticDepth,
    SetAside,
)
from tfdeep.layers.stochastic_depth import StochasticDepth, linear_survival
from tfdeep.layers.units import seed_stream
from tfdeep.masks import mask_of
from tfdeep.models.residual_branches import NONE_FOUND, as_patterns, meant_by

ADDED = (AddedStochasticDepth, AddedDropPath, SetAside)


def add_stochastic_depth(
    model: keras.Model,
    last: float = 0.5,
    *,
    inverted: bool = True,
    exclude: Iterable = (),
    seed: int | None = None,
) -> keras.Model:
    """A model whose residual branches are skipped at random in training.

    Use it to train or fine-tune a residual net that somebody else wrote in
    less time. Each branch that `find_residual_branches` finds becomes a
    `tfdeep.StochasticDepth` layer around it: with depth l of L it is kept
    with the probability

        p_l = 1 - l / L (1 - last)

    and not computed otherwise, forward or backward. Everything else is as it
    was: weights, names, frozen layers, and how the model is compiled, with
    what its optimizer keeps for each weight. At inference it computes what
    the given model does, exactly. `remove_stochastic_depth` gives the plain
    model back.

    Drop path of the model's own in these branches, such as EfficientNet's, is
    replaced. A model that got stochastic depth or drop path from here gets
    the new one in its place.

    Reference:
        Huang et al., "Deep Networks with Stochastic Depth", 2016, eq. 4, for
        the probabilities. Deviation: a kept branch is scaled in training, not
        at inference, unless `inverted=False`.

    Args:
        model: a built model with residual branches; load its weights before.
            It stays as it is. A hand-written one becomes a Functional model,
            as does one whose class has another constructor.
        last: float in [0, 1], the probability of *keeping* the last branch.
        inverted: boolean. `False` is the paper's form, which scales branches
            at inference: right where training begins from scratch, while
            trained weights would no longer fit.
        exclude: layers, their names or paths, or `fnmatch` patterns of paths:
            branches that hold one of them, or whose sum it is, are left as
            they are, drop path of their own included.
        seed: optional integer, from which each branch has a random stream of
            its own.

    Returns:
        A new model.

    Raises:
        TypeError: if `model` is no `keras.Model`, or of a class that has a
            step of its own and is not made from inputs and outputs.
        ValueError: if it has no residual branches, one has a
            `StochasticDepth` of somebody else's already, `exclude` means
            none of them, or the model cannot be rewritten, see
            `tfdeep.graph.rewrite`.

    Example:
        >>> import keras, numpy as np, tfdeep
        >>> x = inputs = keras.Input((8,))
        >>> for number in (1, 2):
        ...     x = x + keras.layers.Dense(8, "relu")(x)
        >>> model = keras.Model(inputs, x)
        >>> new = tfdeep.models.add_stochastic_depth(model, last=0.5, seed=0)
        >>> [
        ...     layer.survival_probability
        ...     for layer in new.layers
        ...     if isinstance(layer, tfdeep.StochasticDepth)
        ... ]
        [0.75, 0.5]
        >>> x = np.ones((2, 8), "float32")
        >>> bool(np.all(np.array(new(x)) == np.array(model(x))))
        True
    """
    check_probability("last", last)
    check_boolean("inverted", inverted)
    check_seed(seed)
    chosen = _Chosen(model, exclude)
    survival = linear_survival(chosen.depth, last)
    made: dict[int, keras.Layer] = {}

    def section(branch: Branch, seed: int | None) -> Section:
        def skipped(part: keras.Model | None) -> Callable:
            p = survival[branch.depth - 1]
            if id(part) in made:  # The same layers once more.
                return partial(made[id(part)], survival_probability=p)
            made[id(part)] = AddedStochasticDepth(
                part,
                p,
                seed,
                inverted,
                mask_of(branch.end) is not None,
                name=chosen.name("stochastic_depth", branch),
                dtype=_policy_of(branch.end),
            )
            return made[id(part)]

        return Section(branch.begin, branch.end, skipped)

    new = chosen.rewritten(section, seed)
    shared = _shared(new) - _shared(model)
    if shared:
        warnings.warn(
            f"{', '.join(sorted(shared))} are called within a branch that can "
            "be skipped and elsewhere, too. Keras does not load a saved model "
            "of that form: save its weights, or what remove_stochastic_depth "
            "makes of it.",
            stacklevel=2,
        )
    return new


def add_drop_path(
    model: keras.Model,
    rate: float = 0.1,
    *,
    exclude: Iterable = (),
    seed: int | None = None,
) -> keras.Model:
    """A model whose residual branches are dropped for single examples.

    Use it to fine-tune a net with the regularization that recipes of today
    ask for. Each branch that `find_residual_branches` finds ends in a
    `tfdeep.layers.DropPath`, whose rate grows with depth, from 0 for the first
    to `rate` for the last:

        rate_l = rate (l - 1) / (L - 1)

    It saves no time, as `add_stochastic_depth` does. Weights, names, frozen
    layers and compilation are those of the model, and so is what it computes
    at inference; `remove_stochastic_depth` gives the plain model back. Drop
    path of the model's own in these branches is replaced, as is what was
    added from here before.

    Reference:
        Huang et al., "Deep Networks with Stochastic Depth", 2016; per sample
        as in Larsson et al., "FractalNet", 2017. A single branch has `rate`.

    Args:
        model: a built model with residual branches. It stays as it is.
        rate: float in [0, 1], the probability of *dropping* the last branch.
        exclude: as of `add_stochastic_depth`.
        seed: optional integer, as of `add_stochastic_depth`.

    Returns:
        A new model.

    Raises:
        TypeError: as `add_stochastic_depth`.
        ValueError: as `add_stochastic_depth`.

    Example:
        >>> import keras, tfdeep
        >>> x = inputs = keras.Input((8,))
        >>> for number in (1, 2, 3):
        ...     x = x + keras.layers.Dense(8, "relu")(x)
        >>> model = keras.Model(inputs, x)
        >>> new = tfdeep.models.add_drop_path(model, 0.2, seed=0)
        >>> drops = (tfdeep.layers.DropPath,)
        >>> [each.rate for each in new.layers if isinstance(each, drops)]
        [0.0, 0.1, 0.2]
    """
    check_probability("rate", rate)
    check_seed(seed)
    chosen = _Chosen(model, exclude)

    def section(branch: Branch, seed: int | None) -> Section:
        share = (
            (branch.depth - 1) / (chosen.depth - 1) if chosen.depth > 1 else 1
        )

        def dropped(part: keras.Model | None) -> keras.Layer:
            return AddedDropPath(
                rate * share,
                seed,
                name=chosen.name("drop_path", branch),
                dtype=_policy_of(branch.end),
            )

        return Section(branch.end, branch.end, dropped)

    return chosen.rewritten(section, seed)


def remove_stochastic_depth(model: keras.Model) -> keras.Model:
    """The plain model of one with added stochastic depth or drop path.

    It undoes `add_stochastic_depth` and `add_drop_path`, also after training
    or in a model that was loaded: the layers have the names, the order and
    the weights that they have now, so that files of weights fit the model
    that was given then; drop path of its own is back. A compiled model stays
    compiled, with what its optimizer keeps.

    Layers that somebody put into the model in another way stay: a
    `StochasticDepth` of one's own, or blocks with `survival_probability`.

    Args:
        model: a built model. It stays as it is.

    Returns:
        A new model, a copy if nothing was added.

    Raises:
        TypeError: if `model` is no `keras.Model`, or of a class that has a
            step of its own and is not made from inputs and outputs.
        ValueError: if it cannot be rewritten, see `tfdeep.graph.rewrite`.

    Example:
        >>> import keras, tfdeep
        >>> x = inputs = keras.Input((8,), name="in")
        >>> y = keras.layers.Dense(8, "relu", name="branch")(x)
        >>> model = keras.Model(inputs, keras.layers.Add(name="sum")([x, y]))
        >>> new = tfdeep.models.add_stochastic_depth(model)
        >>> [layer.name for layer in new.layers]
        ['in', 'stochastic_depth_1', 'sum']
        >>> plain = tfdeep.models.remove_stochastic_depth(new)
        >>> [layer.name for layer in plain.layers]
        ['in', 'branch', 'sum']
    """
    return rewrite(model, _plain)


def _plain(call: Call, args: tuple, kwargs: dict) -> Any:
    """What was there before one of our layers."""
    layer = call.operation
    if isinstance(layer, AddedDropPath):
        return args[0]
    if isinstance(layer, (AddedStochasticDepth, SetAside)):
        return Instead(layer.layer)
    return None


class _Chosen:
    """The branches of a model that get a layer.

    Args:
        model: the model. If layers were added to it, it is a plain one here.
        exclude: as of `add_stochastic_depth`.

    Attributes:
        depth: the number of sums that have branches, whether chosen or not.
    """

    def __init__(self, model: keras.Model, exclude: Iterable):
        patterns = as_patterns(exclude)
        if isinstance(model, keras.Model) and any(
            isinstance(part, ADDED) for part in layers_of(model)
        ):
            model = remove_stochastic_depth(model)
            # Its layers are others, of the same names.
            patterns = [getattr(each, "name", each) for each in patterns]
        self.graph: Graph = graph_of(model)
        branches = branches_of(self.graph)
        if not branches:
            raise ValueError(
                f"`model` must have residual branches. Received: "
                f"model={model.name!r}, which has {NONE_FOUND}."
            )
        self.depth = branches[-1].depth
        self.branches = branches
        self.names = {part.name for part in layers_of(model)}
        self.excluded = meant_by(self.graph, branches, patterns)
        _check_own(self.chosen())

    def chosen(self) -> list[Branch]:
        """The branches that are not excluded."""
        return [b for b in self.branches if id(b) not in self.excluded]

    def name(self, kind: str, branch: Branch) -> str:
        """A name that no layer of the model has."""
        name = f"{kind}_{branch.depth}"
        while name in self.names:
            name += "_added"
        self.names.add(name)
        return name

    def rewritten(
        self, section: Callable[[Branch, int | None], Section], seed: int | None
    ) -> keras.Model:
        """The model with a section for each branch, its own drop path aside."""
        seeds: Iterator = seed_stream(seed)
        pairs = list(zip(self.branches, seeds, strict=False))
        sections = [
            section(branch, own)
            for branch, own in pairs
            if id(branch) not in self.excluded
        ]
        return rewrite(
            self.graph, _SettingAside(self.chosen()), sections=sections
        )


class _SettingAside:
    """The edit that keeps a model's own drop path from dropping.

    Args:
        branches: those of which it is set aside.
    """

    def __init__(self, branches: list[Branch]):
        self.drops = {id(c.outputs[0]) for b in branches for c in b.drops}
        self.aside: dict[int, SetAside] = {}

    def __call__(self, call: Call, args: tuple, kwargs: dict) -> Any:
        if id(call.outputs[0]) not in self.drops:
            return None
        old = call.operation
        if id(old) not in self.aside:
            self.aside[id(old)] = SetAside(
                twin_of(old), name=f"{old.name}_set_aside"
            )
        layer = self.aside[id(old)]
        (x,) = [
            each
            for each in tree.flatten((args, kwargs))
            if isinstance(each, keras.KerasTensor)
        ]
        outputs = layer(x)
        pairs = zip(layer.layer.variables, old.variables, strict=True)
        return Edited(outputs, list(pairs))


def _check_own(branches: list[Branch]) -> None:
    """Raise for a branch that skips itself: it would be skipped twice."""
    own = [
        call.path
        for branch in branches
        for call in branch.drops
        if isinstance(call.operation, StochasticDepth)
    ]
    if own:
        raise ValueError(
            "`model` must not have StochasticDepth in the branches that get "
            f"it. Received: a model with {', '.join(own)}. Set their "
            "`survival_probability`, or give their names as `exclude`."
        )


def _shared(model: keras.Model) -> set[str]:
    """The names of layers that several models within a model call."""
    graphs = [part for part in layers_of(model) if is_graph(part)]
    counts = Counter(layer for graph in graphs for layer in {*graph.layers})
    return {layer.name for layer, count in counts.items() if count > 1}


def _policy_of(tensor: keras.KerasTensor) -> keras.DTypePolicy:
    """The policy of a layer that returns such a tensor as it is."""
    return keras.DTypePolicy(keras.backend.standardize_dtype(tensor.dtype))
