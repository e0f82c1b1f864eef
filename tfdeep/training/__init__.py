"""Wrappers that train a model differently and leave it as it is."""

from tfdeep.layers.entropy import batch_entropy
from tfdeep.training.entropy_regularizer import BatchEntropyRegularizer

__all__ = ["BatchEntropyRegularizer", "batch_entropy"]
