"""Small models, data with labels, and a GradInit of few steps."""

import keras
import numpy as np
from keras import layers

from tests.helpers import images
from tfdeep.initializers import GradInit

LOGITS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def mlp(classes=3, compiled=True, **kwargs):
    """Two dense layers on four features."""
    model = keras.Sequential(
        [
            keras.Input((4,)),
            layers.Dense(6, activation="tanh", **kwargs),
            layers.Dense(classes),
        ]
    )
    if compiled:
        model.compile(keras.optimizers.SGD(0.1), LOGITS)
    return model


class HandWritten(keras.Model):
    """Three outputs of a model that Keras cannot look into."""

    def __init__(self):
        super().__init__()
        self.dense = layers.Dense(3)

    def call(self, x):
        return self.dense(x)


def labelled(count=32, features=4, classes=3):
    """Normal inputs, and each class in turn."""
    return images(count, features), np.arange(count) % classes


def quick(iterations=3, **kwargs):
    return GradInit(iterations=iterations, verbose=0, **kwargs)
