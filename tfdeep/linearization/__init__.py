"""How many nonlinear units a net needs, and what is linear folded away."""

from tfdeep.linearization.fold import fold_linear, foldable
from tfdeep.linearization.fold_report import Fold, Foldable
from tfdeep.linearization.linearize import left_alone, linearize
from tfdeep.linearization.path_length import (
    LayerUnits,
    PathLength,
    path_length,
    sample_path_length,
)
from tfdeep.linearization.path_rules import path_rule
from tfdeep.linearization.paths import Paths

__all__ = [
    "Fold",
    "Foldable",
    "LayerUnits",
    "PathLength",
    "Paths",
    "fold_linear",
    "foldable",
    "left_alone",
    "linearize",
    "path_length",
    "path_rule",
    "sample_path_length",
]
