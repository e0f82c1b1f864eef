"""Training with differential privacy: DP-SGD in an ordinary `fit`."""

from tfdeep.privacy import audit, tf_privacy
from tfdeep.privacy.adaptive_clipping import AdaptiveClipping
from tfdeep.privacy.averaging import Averaging
from tfdeep.privacy.clipping import (
    AutomaticClipping,
    FlatClipping,
    PerLayerClipping,
)
from tfdeep.privacy.mechanisms import GaussianMechanism, Mechanism
from tfdeep.privacy.per_example.purity import NotPrivateError
from tfdeep.privacy.per_example.rules import gradient_rule
from tfdeep.privacy.plan import Plan
from tfdeep.privacy.private_model import PrivateModel
from tfdeep.privacy.sampling import poisson_batches
from tfdeep.privacy.settings import Settings, recipe
from tfdeep.privacy.tree_aggregation import TreeAggregation
from tfdeep.privacy.validation import replace_batch_norm, validate
from tfdeep.privacy.views import Views

__all__ = [
    "AdaptiveClipping",
    "AutomaticClipping",
    "Averaging",
    "FlatClipping",
    "GaussianMechanism",
    "Mechanism",
    "NotPrivateError",
    "PerLayerClipping",
    "Plan",
    "PrivateModel",
    "Settings",
    "TreeAggregation",
    "Views",
    "audit",
    "gradient_rule",
    "poisson_batches",
    "recipe",
    "replace_batch_norm",
    "tf_privacy",
    "validate",
]
