"""Wrappers that train a model differently and leave it as it is."""

from tfdeep.layers.entropy import batch_entropy
from tfdeep.training.deep_supervision import DeepSupervision
from tfdeep.training.entropy_regularizer import BatchEntropyRegularizer
from tfdeep.training.head import Head, paper_decay
from tfdeep.training.hinge import L2SVM
from tfdeep.training.reach import Reach, describe_reach
from tfdeep.training.relay import RelayBackpropagation

__all__ = [
    "BatchEntropyRegularizer",
    "DeepSupervision",
    "Head",
    "L2SVM",
    "Reach",
    "RelayBackpropagation",
    "batch_entropy",
    "describe_reach",
    "paper_decay",
]
