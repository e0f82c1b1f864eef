"""DP-FTRL: correlated noise, so that sampling need not be random."""

import math

import keras
import numpy as np
from keras import ops

from tfdeep.checks import check_number, check_positive
from tfdeep.privacy.mechanisms import Mechanism, check_multiplier


def levels_of(leaves: int) -> int:
    """How many nodes of a binary tree lie above one of its leaves."""
    return leaves.bit_length()


def changes(step, levels: int):
    """Which levels a tree of partial sums changes with its next leaf.

    With t leaves, level l holds a node if bit l of t is set. A further leaf
    clears the ones at the end of t, and makes a node at the first zero.

    Returns:
        `(made, cleared)`, each a float vector of 0 and 1, one per level.
    """
    bits = [ops.floor(step / 2.0**level) % 2.0 for level in range(levels)]
    made, cleared, carry = [], [], 1.0
    for bit in bits:
        made.append(carry * (1.0 - bit))
        carry = carry * bit
        cleared.append(carry)
    return ops.stack(made), ops.stack(cleared)


def next_noise(nodes, made, cleared, fresh):
    """The noise of this update, and the nodes after it.

    It is the difference of the noise of two prefix sums: what the new node
    adds and what the cleared ones take away.

    Args:
        nodes: (levels, *shape), 0 where there is none.
        made: (levels,), as from `changes`.
        cleared: (levels,), as from `changes`.
        fresh: (*shape), the noise of the new node.
    """
    shape = (-1, *(1,) * (len(nodes.shape) - 1))
    made, cleared = (ops.reshape(each, shape) for each in (made, cleared))
    noise = fresh - ops.sum(cleared * nodes, axis=0)
    return noise, nodes * (1.0 - cleared) + made * fresh


@keras.saving.register_keras_serializable(package="tfdeep")
class TreeAggregation(Mechanism):
    """Adds the noise of a binary tree: DP-FTRL, with restarts.

    Use it where examples cannot be sampled at random, as when they arrive in
    some order: its privacy needs no sampling, only that an example is used
    once per tree. The sum of the noise of t updates is that of at most
    log2(t) + 1 nodes, instead of t. With `keras.optimizers.SGD` it is DP-FTRL.

    After `restart_every` updates, an epoch as a rule, a new tree begins.

    The noise of later updates takes away that of earlier ones, and so whoever
    knows the tree can undo it. It is in no file: training goes on from one
    only by `PrivateModel.save_resumable`, whose file is to be kept secret.

    Reference:
        Kairouz, McMahan, Song, Thakkar, Thakurta, Xu, "Practical and Private
        (Deep) Learning without Sampling or Shuffling", 2021, algorithm 1 and
        appendix D. Deviation: no variance reduction after Honaker.

    Args:
        noise_multiplier: float from 0, the standard deviation of a node in
            units of the sensitivity.
        restart_every: integer, how many updates a tree is for.

    Raises:
        ValueError: if a number is out of range, or there is a plan, whose
            accounting is that of independent noise.

    Example:
        >>> import tfdeep
        >>> tree = tfdeep.privacy.TreeAggregation(8.0, restart_every=100)
        >>> round(tree.epsilon(trees=1, delta=1e-5), 2)
        1.64
    """

    secret = True

    def __init__(self, noise_multiplier: float, restart_every: int):
        check_multiplier(noise_multiplier)
        check_number("noise_multiplier", noise_multiplier, 0.0, 1.1)
        check_positive("restart_every", restart_every)
        self.noise_multiplier = float(noise_multiplier)
        self.restart_every = int(restart_every)

    def bind(self, plan, batch_size):
        if plan is not None:
            raise ValueError(
                "`plan` must be None with TreeAggregation: a plan accounts "
                "for independent noise on sampled batches, not for that of a "
                "tree. Received: a plan. Ask `epsilon` of the mechanism."
            )
        return self

    def epsilon(self, trees: int, delta: float) -> float:
        """The privacy of so many trees, each example once in each.

        Through zero-concentrated privacy: rho = trees * levels / (2 sigma^2),
        epsilon = rho + 2 sqrt(rho ln(1 / delta)). An example counts as zeroed
        out in the neighbouring data set.
        """
        check_positive("trees", trees)
        if not self.noise_multiplier:
            return math.inf
        levels = levels_of(self.restart_every)
        rho = trees * levels / (2.0 * self.noise_multiplier**2)
        return rho + 2.0 * math.sqrt(rho * math.log(1.0 / delta))

    def initial_state(self, shapes):
        levels = levels_of(self.restart_every)
        nodes = [np.zeros((levels, *shape), "float32") for shape in shapes]
        return [np.zeros((), "float32"), *nodes]

    def add_noise(self, sums, counts, state, sensitivity, draw):
        step, *nodes = state
        made, cleared = changes(step, levels_of(self.restart_every))
        scale = self.noise_multiplier * sensitivity
        noised, after = [], []
        for value, node in zip(sums, nodes, strict=True):
            fresh = ops.cast(scale, "float32") * draw(ops.shape(value))
            noise, node = next_noise(node, made, cleared, fresh)
            noised.append(value + ops.cast(noise, value.dtype))
            after.append(node)
        goes_on = ops.cast(step + 1.0 < self.restart_every, "float32")
        return noised, [
            (step + 1.0) * goes_on,
            *(node * goes_on for node in after),
        ]

    def get_config(self):
        return {
            "noise_multiplier": self.noise_multiplier,
            "restart_every": self.restart_every,
        }
