"""tfdeep: very deep networks in Keras, trainable, lighter and private."""

from importlib import import_module
from types import ModuleType

try:
    import keras  # noqa: F401
except ModuleNotFoundError as error:
    if error.name not in ("tensorflow", "jax", "torch"):
        raise
    raise ModuleNotFoundError(
        f"Keras' backend {error.name!r} is not installed. Keras takes "
        "TensorFlow unless the variable KERAS_BACKEND names another: set "
        "KERAS_BACKEND=jax, or get it with: pip install 'tfdeep[tensorflow]'",
        name=error.name,
    ) from None

from tfdeep import (
    callbacks,
    data,
    graph,
    initializers,
    layers,
    linearization,
    losses,
    models,
    optimizers,
    privacy,
    pruning,
    training,
    visualization,
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
    "data",
    "graph",
    "initializers",
    "layers",
    "linearization",
    "losses",
    "models",
    "optimizers",
    "privacy",
    "pruning",
    "recipes",
    "training",
    "visualization",
]


def __getattr__(name: str) -> ModuleType:
    if name == "recipes":  # Only those who run one need it.
        return import_module("tfdeep.recipes")
    raise AttributeError(f"module 'tfdeep' has no attribute {name!r}")


def __dir__() -> list[str]:
    return ["__version__", *__all__]
