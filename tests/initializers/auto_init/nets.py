"""Models of plain layers for the tests of AutoInit."""

import keras
import numpy as np
from keras import layers


def mlp(depth=3, width=64, activation="relu", inputs=32):
    """Dense layers and ten outputs."""
    return keras.Sequential(
        [
            keras.Input((inputs,)),
            *(layers.Dense(width, activation) for _ in range(depth)),
            layers.Dense(10),
        ]
    )


def single(layer, *shape, **kwargs):
    """A model of one layer."""
    return keras.Sequential([keras.Input(shape, **kwargs), layer])


class Chain(keras.Model):
    """A subclassed model of many layers."""

    def __init__(self, chain):
        super().__init__()
        self.chain = chain

    def call(self, x):
        for layer in self.chain:
            x = layer(x)
        return x


def normal(*shape):
    """Inputs of mean 0 and variance 1, all together."""
    x = np.random.default_rng(1).normal(size=shape)
    return ((x - x.mean()) / x.std()).astype("float32")
