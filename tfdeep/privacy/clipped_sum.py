"""From the gradients of examples to one sum that no example can move far."""

from typing import Any, NamedTuple

import numpy as np
from keras import ops, tree

from tfdeep.privacy.per_example.gradients import dtype_of


class ClippedSum(NamedTuple):
    """A clipped sum over a batch, and what was seen on the way.

    Args:
        sums: one tensor per trainable weight.
        counts: what the mechanism counts besides.
        norms: (batch,) norms before the clip; 0 where not finite.
        clipped: how many examples were clipped.
        present: how many examples there were, padding left out.
        not_finite: how many of them had a gradient that was not finite.
        outputs: outputs of the model, of the first view of each example.
        losses: (batch,) losses, weighted.
        state: new values of the model's variables that are not trained.
        augmented: the same of the layer that makes views.
    """

    sums: list
    counts: list
    norms: Any
    clipped: Any
    present: Any
    not_finite: Any
    outputs: Any = None
    losses: Any = None
    state: Any = None
    augmented: Any = None


def presence(weight, count):
    """(batch,) 1, or 0 where an example's weights are all 0: padding."""
    leaves = [each for each in tree.flatten(weight) if each is not None]
    if not leaves:
        return ops.ones((count,), "float32")
    shown = [
        ops.any(ops.reshape(each, (count, -1)) != 0, axis=1) for each in leaves
    ]
    return ops.cast(ops.any(ops.stack(shown), axis=0), "float32")


def groups_of(variables, per_layer: bool) -> list[list[int]]:
    """The weights that are clipped together: all, or those of each layer."""
    if not per_layer:
        return [list(range(len(variables)))]
    groups: dict[str, list[int]] = {}
    for index, variable in enumerate(variables):
        groups.setdefault(variable.path.rpartition("/")[0], []).append(index)
    return list(groups.values())


def clip_and_sum(gradients, present, clipping, groups, mechanism, state):
    """Bound each example's gradient, and add up.

    Args:
        gradients: those of the examples, as in `Batch`.
        present: (batch,) 1, or 0 for padding.
        clipping: a `Clipping`.
        groups: lists of indices of weights that are clipped together.
        mechanism: a `Mechanism`.
        state: the mechanism's state.
    """
    squares = gradients.square_norms()
    total = sum(squares)
    finite = ops.isfinite(total)
    kept = ops.logical_and(finite, present > 0)
    norms = ops.sqrt(ops.where(kept, total, 0.0))
    clip = mechanism.clip_norm(clipping.l2_norm_clip, state)
    if not isinstance(clip, float):  # A number is as precise as it is.
        clip = ops.cast(clip, norms.dtype)
    if mechanism.needs_records:
        records = gradients.records(kept)
        sums, counts = mechanism.accumulate(records, present, state)
    else:
        factors = _factors(squares, kept, clipping, clip, groups)
        bounded = _bounded(gradients, factors, clip)
        kept = ops.logical_and(kept, bounded)
        finite = ops.logical_and(finite, bounded)
        factors = [ops.where(kept, each, 0.0) for each in factors]
        sums = [
            clipping.rescale(each, clip)
            for each in gradients.weighted_sums(factors, kept)
        ]
        counts = mechanism.counts(norms, clip, present)
    return ClippedSum(
        sums,
        counts,
        norms,
        clipped=ops.sum(ops.cast(norms > clip, "float32")),
        present=ops.sum(present),
        not_finite=ops.sum(present * ops.cast(~finite, "float32")),
    )


def _bounded(gradients, factors: list, clip):
    """(batch,) whether the terms of an example leave those of others alone.

    A clipped gradient is no longer than C, and may be a sum of terms that are
    far longer and cancel. Added to those of other examples they round them
    off, by about eps times their length: more than a thousandth of C here.
    """
    found: list = []
    for factor, reach in zip(factors, gradients.reaches(), strict=False):
        if reach is not None:
            most = 1e-3 / np.finfo(dtype_of(reach)).eps
            found.append(ops.cast(factor, reach.dtype) * reach <= most * clip)
    return ops.all(ops.stack(found), axis=0) if found else True


def _factors(squares, kept, clipping, clip, groups):
    """One factor (batch,) per weight; 0 for what is not kept."""
    bound = clip / len(groups) ** 0.5
    found: list = [None] * len(squares)
    for group in groups:
        total = sum(squares[index] for index in group)
        norms = ops.sqrt(ops.where(kept, total, 0.0))
        factor = ops.where(kept, clipping.factors(norms, bound), 0.0)
        for index in group:
            found[index] = factor
    return found
