"""Transforms that give a built model its initial weights."""

from tfdeep.initializers.auto_init import (
    AutoInit,
    SignalReport,
    propagate,
    signal_rule,
)
from tfdeep.initializers.grad_init import GradInit

__all__ = ["AutoInit", "GradInit", "SignalReport", "propagate", "signal_rule"]
