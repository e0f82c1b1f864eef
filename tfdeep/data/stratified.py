"""Stratified hold-outs: every class keeps its share."""

import numpy as np


def quotas(counts, size: int):
    """Share `size` among classes in proportion to `counts`.

    Largest remainders: q_c = floor(size n_c / n), and one more for the
    classes with the largest fractions left, until the sum is `size`.

    Args:
        counts: integer array, n_c, the examples of each class.
        size: integer, the number to share out, at most the sum of `counts`.

    Returns:
        Integer array of the shape of `counts`, with sum `size`.

    Example:
        >>> quotas([50, 30, 20], 5).tolist()
        [3, 1, 1]
    """
    exact = size * np.asarray(counts, dtype="int64") / np.sum(counts)
    share = np.floor(exact).astype("int64")
    order = np.argsort(share - exact, kind="stable")
    share[order[: size - share.sum()]] += 1
    return share


def hold_out(labels, size: int, seed: int):
    """Choose `size` examples at random, the classes in proportion.

    Args:
        labels: integer array of rank 1.
        size: integer, how many to choose.
        seed: integer. The same labels, size and seed give the same choice.

    Returns:
        Boolean array of the shape of `labels`, True for the chosen.

    Raises:
        ValueError: if there are fewer than `size` labels.

    Example:
        >>> chosen = hold_out([0, 0, 0, 0, 1, 1], size=3, seed=0)
        >>> int(chosen[:4].sum()), int(chosen[4:].sum())
        (2, 1)
    """
    labels = np.asarray(labels)
    if size > len(labels):
        raise ValueError(
            f"{size} examples were to be held out of {len(labels)}. There "
            "must be at least as many. Prepare the whole set again."
        )
    rng = np.random.default_rng(seed)
    classes, counts = np.unique(labels, return_counts=True)
    chosen = np.zeros(len(labels), dtype=bool)
    for label, quota in zip(classes, quotas(counts, size), strict=True):
        members = np.flatnonzero(labels == label)
        chosen[rng.permutation(members)[:quota]] = True
    return chosen
