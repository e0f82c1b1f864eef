"""Training with differential privacy: DP-SGD in an ordinary `fit`."""

from tfdeep.privacy.clipping import (
    AutomaticClipping,
    FlatClipping,
    PerLayerClipping,
)
from tfdeep.privacy.mechanisms import GaussianMechanism, Mechanism
from tfdeep.privacy.private_model import PrivateModel

__all__ = [
    "AutomaticClipping",
    "FlatClipping",
    "GaussianMechanism",
    "Mechanism",
    "PerLayerClipping",
    "PrivateModel",
]
