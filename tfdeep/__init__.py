"""tfdeep: very deep networks in Keras, trainable, lighter and private."""

from tfdeep import (
    callbacks,
    graph,
    initializers,
    layers,
    linearization,
    losses,
    models,
    privacy,
    training,
)
from tfdeep.initializers import AutoInit
from tfdeep.layers import DenseBlock, ReversibleCapsule, StochasticDepth
from tfdeep.privacy import PrivateModel
from tfdeep.training import BatchEntropyRegularizer

__version__ = "0.1.0"

__all__ = [
    "AutoInit",
    "BatchEntropyRegularizer",
    "DenseBlock",
    "PrivateModel",
    "ReversibleCapsule",
    "StochasticDepth",
    "callbacks",
    "graph",
    "initializers",
    "layers",
    "linearization",
    "losses",
    "models",
    "privacy",
    "training",
]
