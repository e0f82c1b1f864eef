"""How the moments of each kind of layer's output follow from its input's.

A rule is `rule(state, layer, call, args, kwargs)`; it makes the call and
tells `state`, a `Propagation`, the signal of what it returns. In place of a
rule a layer may have a method `get_signal_moments`. One with neither is
computed and measured, its parts one by one.
"""

import importlib

from keras import layers

from tfdeep.initializers.auto_init.rules import pointwise
from tfdeep.initializers.auto_init.rules.measuring import computed
from tfdeep.initializers.auto_init.rules.registry import (
    METHOD,
    RULES,
    signal_rule,
)
from tfdeep.initializers.auto_init.rules.stated import stated

__all__ = ["find_rule", "signal_rule"]
FAMILIES = (
    "linear",
    "merging",
    "moving",
    "noise",
    "normalization",
    "ours",
    "capsules",
)
for family in (*FAMILIES, "whole"):  # Importing one fills the tables.
    importlib.import_module(f"{__name__}.{family}")


def find_rule(operation):
    """The rule of the nearest class in the operation's hierarchy.

    It is none if a class before that one computes in another way.
    """
    found = RULES.find(operation)
    if found is None and not isinstance(operation, layers.Layer):
        return pointwise.operation
    return stated if found == METHOD else found or computed
