"""AutoInit: follow the signal through a model and scale its weights."""

from tfdeep.initializers.auto_init.initializer import AutoInit, propagate
from tfdeep.initializers.auto_init.report import SignalReport
from tfdeep.initializers.auto_init.rules import signal_rule

__all__ = ["AutoInit", "SignalReport", "propagate", "signal_rule"]
