"""How much a channel counts."""

from tfdeep.pruning.criteria.magnitude import (
    BatchNormScale,
    Magnitude,
    Random,
)
from tfdeep.pruning.criteria.oracle import Oracle
from tfdeep.pruning.criteria.scores import Correlation, Scores
from tfdeep.pruning.criteria.taylor import Taylor

__all__ = [
    "BatchNormScale",
    "Correlation",
    "Magnitude",
    "Oracle",
    "Random",
    "Scores",
    "Taylor",
]
