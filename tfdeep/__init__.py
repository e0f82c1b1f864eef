"""tfdeep: very deep networks in Keras, trainable, lighter and private."""

from tfdeep import initializers, layers, models
from tfdeep.initializers import AutoInit
from tfdeep.layers import DenseBlock, StochasticDepth

__version__ = "0.1.0"

__all__ = [
    "AutoInit",
    "DenseBlock",
    "StochasticDepth",
    "initializers",
    "layers",
    "models",
]
