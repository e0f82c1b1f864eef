"""Functions after a layer that take its channels together."""

from typing import Any

from tfdeep.pruning.call import ChannelCall
from tfdeep.pruning.labels import Channels

# What one channel becomes depends on the others.
MIXING = ("softmax", "log_softmax", "sparsemax", "glu")


def activated(call: ChannelCall, channels: Channels | None) -> Any:
    """The channels behind a layer's own activation."""
    name = getattr(getattr(call.layer, "activation", None), "__name__", "")
    if channels is not None and name in MIXING:
        call.freeze(channels, f"{name} of {call.path} takes them together")
    return channels
