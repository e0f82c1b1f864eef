"""What becomes of channels in every layer of Keras and of this package."""

from tfdeep.pruning.rules import (
    attention,
    convolution,
    cuts,
    dense,
    frozen,
    merging,
    normalization,
    ours,
    passing,
    positions,
    recurrent,
    shapes,
)

__all__ = [
    "attention",
    "convolution",
    "cuts",
    "dense",
    "frozen",
    "merging",
    "normalization",
    "ours",
    "passing",
    "positions",
    "recurrent",
    "shapes",
]
