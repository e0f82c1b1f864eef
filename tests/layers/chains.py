"""Blocks, and a reversible chain of them beside the plain one."""

import keras
import numpy as np
from keras import layers

from tests.helpers import (
    arrays,
    copy_weights,
    flat,
    images,
    randomize,
    training_step,
)
from tfdeep.layers import ReversibleStack, RoutingCapsules
from tfdeep.layers.seed_state import Dropout


def dense(size=4):
    return layers.Dense(size, "tanh")


def conv(size=4):
    return layers.Conv2D(size, 3, padding="same", activation="tanh")


def capsule(size=4):
    return RoutingCapsules(5, size, kernel_initializer="he_normal")


SHAPES = {dense: (6, 4), conv: (3, 5, 5, 4), capsule: (3, 5, 4)}


def block(main, extra):
    """A layer with batch statistics, a random stream or both beside it."""
    before = [] if extra == "dropout" else [layers.BatchNormalization()]
    after = [] if extra == "bn" else [Dropout(0.3, seed=1)]
    return keras.Sequential([*before, main(), *after])


def twins(blocks, shape, **kwargs):
    """A reversible stack and the plain one, with equal weights."""
    stacks = [
        ReversibleStack(blocks(), recompute=recompute, **kwargs)
        for recompute in (True, False)
    ]
    for stack in stacks:
        stack.build((None, *shape))
    randomize(stacks[0])
    copy_weights(*stacks)
    return stacks


def error(ours, theirs):
    """The largest relative error of a list of arrays."""
    return max(
        np.linalg.norm(a - b) / max(np.linalg.norm(b), 1e-30)
        for a, b in zip(ours, theirs, strict=True)
    )


def whole_error(ours, theirs):
    """The relative error of a list of arrays taken as one."""
    ours, theirs = (
        np.concatenate([part.ravel() for part in parts])
        for parts in (ours, theirs)
    )
    return error([ours], [theirs])


def check(stacks, shape, tolerance=1e-12, compiled=None):
    """Two steps of both: outputs, gradients and the state they leave.

    XLA draws other dropout masks: then the plain stack is compiled, too.
    """
    plain = "xla" if compiled == "xla" else None
    steps = [
        training_step(stack, mode, training=True)
        for stack, mode in zip(stacks, (compiled, plain), strict=True)
    ]
    x = images(*shape).astype("float64")
    for _ in range(2):  # The second step starts from the new state.
        ours, theirs = (flat(step(x)) for step in steps)
        assert error(ours, theirs) <= tolerance
    states = (arrays(stack.non_trainable_variables) for stack in stacks)
    for a, b in zip(*states, strict=True):
        np.testing.assert_allclose(a, b, tolerance, tolerance)
