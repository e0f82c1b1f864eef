"""Prints what memory a training step takes, by form and depth, in MiB."""

import json

import keras
import numpy as np

from tfdeep.layers import ReversibleCapsule
from tfdeep.recipes.measure import memory_of


def memory(recompute: bool, blocks: int, compiled: bool) -> float:
    """MiB of a batch beside which the weights of all blocks are small.

    The gradients of these weights, stacked at the end of a step, would
    be its peak: the blocks are frozen, above a layer that is trained.
    """
    layer = ReversibleCapsule(8, 2, blocks, recompute=recompute)
    layer.trainable = False
    model = keras.Sequential(
        [keras.Input((8, 2)), keras.layers.Dense(2), layer]
    )
    model.compile("sgd", "mse", jit_compile=compiled)
    x = np.random.default_rng(0).normal(size=(1024, 8, 2)).astype("float32")
    model.train_on_batch(x, x)
    return memory_of(lambda: model.train_on_batch(x, x))


def one_after_the_other():
    """Make and free four arrays of 8 MiB."""
    for _ in range(4):
        np.ones(2**20)


def together():
    """The same four at a time."""
    [np.ones(2**20) for _ in range(4)]


def main():
    found = {"arrays": [memory_of(one_after_the_other), memory_of(together)]}
    places = [True] if keras.backend.backend() == "jax" else [False, True]
    found["steps"] = [
        {
            "reversible": [memory(True, 10, xla), memory(True, 60, xla)],
            "plain": memory(False, 60, xla),
        }
        for xla in places
    ]
    found["plain of ten"] = memory(False, 10, places[0])
    print(json.dumps(found))


if __name__ == "__main__":
    main()
