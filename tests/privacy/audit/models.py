"""The small private model that is audited, and a batch of 12 examples."""

import keras

from tests.helpers import images
from tfdeep.privacy import GaussianMechanism, PrivateModel

X, Y = images(12, 5), images(12, 1, seed=1)


def net(dropout=0.0, regularizer=None):
    return keras.Sequential(
        [
            keras.Input((5,)),
            keras.layers.Dense(
                40, activation="tanh", kernel_regularizer=regularizer
            ),
            keras.layers.Dropout(dropout),
            keras.layers.Dense(1),
        ]
    )


def private(base=None, clip=0.1, mechanism=None, **kwargs):
    """A compiled private model; its examples are all clipped."""
    model = PrivateModel(
        base or net(),
        l2_norm_clip=clip,
        mechanism=mechanism or GaussianMechanism(1.0),
        **kwargs,
    )
    model.compile("sgd", "mse")
    return model
