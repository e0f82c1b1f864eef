"""tfdeep: very deep networks in Keras, trainable, lighter and private."""

from tfdeep import layers, models
from tfdeep.layers import DenseBlock, StochasticDepth

__version__ = "0.1.0"

__all__ = ["DenseBlock", "StochasticDepth", "layers", "models"]
