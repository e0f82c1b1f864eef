"""Prints the MiB of a training step by form and depth, of this process."""

import json

import keras
import numpy as np

from tfdeep.layers import ReversibleCapsule
from tfdeep.recipes.measure import memory_of

DEPTHS = (10, 60)
FORMS = {"reversible": True, "plain": False}


def memory(form: str, blocks: int, compiled: bool) -> float:
    """MiB of a batch of 128, less those of a batch of one.

    The gradients of all blocks' weights, stacked at the end of a step, would
    be its peak: the blocks are frozen, above a layer that is trained.
    """
    layer = ReversibleCapsule(32, 8, blocks, recompute=FORMS[form])
    layer.trainable = False
    model = keras.Sequential(
        [keras.Input((32, 8)), keras.layers.Dense(8), layer]
    )
    model.compile("sgd", "mse", jit_compile=compiled)
    x = np.random.default_rng(0).normal(size=(128, 32, 8)).astype("float32")

    def step(x):
        model.train_on_batch(x, x)
        return min(
            memory_of(lambda: model.train_on_batch(x, x)) for _ in range(3)
        )

    return step(x) - step(x[:1])


def main():
    places = (True,) if keras.backend.backend() == "jax" else (False, True)
    found = [
        [[memory(form, blocks, each) for blocks in DEPTHS] for form in FORMS]
        for each in places
    ]
    print(json.dumps(found))
