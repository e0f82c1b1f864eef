"""Layers to put into a Keras model."""

from tfdeep.layers.class_capsules import CapsuleLength, CapsuleMask
from tfdeep.layers.dense_block import DenseBlock
from tfdeep.layers.dense_transition import DenseTransition
from tfdeep.layers.drop_path import DropPath
from tfdeep.layers.entropy import BatchEntropy, batch_entropy
from tfdeep.layers.grouped_conv import GroupedConv2D
from tfdeep.layers.primary_capsules import PrimaryCapsules
from tfdeep.layers.recompute import Recompute
from tfdeep.layers.repeat import Repeat
from tfdeep.layers.residual import ResidualBlock
from tfdeep.layers.residual_v1 import (
    AggregatedBlock,
    BasicBlock,
    BottleneckBlock,
)
from tfdeep.layers.residual_v2 import (
    PreActivationBlock,
    PreActivationBottleneckBlock,
    WideBlock,
)
from tfdeep.layers.reversible_capsule import ReversibleCapsule
from tfdeep.layers.reversible_stack import ReversibleStack
from tfdeep.layers.routing import dynamic_routing, sda_routing, squash
from tfdeep.layers.routing_capsules import RoutingCapsules
from tfdeep.layers.shortcuts import ZeroPadShortcut
from tfdeep.layers.sparse_prelu import SparsePReLU
from tfdeep.layers.stochastic_block import StochasticBlock
from tfdeep.layers.stochastic_depth import StochasticDepth, linear_survival
from tfdeep.layers.weight_standardized_conv import WeightStandardizedConv2D

__all__ = [
    "AggregatedBlock",
    "BasicBlock",
    "BatchEntropy",
    "BottleneckBlock",
    "CapsuleLength",
    "CapsuleMask",
    "DenseBlock",
    "DenseTransition",
    "DropPath",
    "GroupedConv2D",
    "PreActivationBlock",
    "PreActivationBottleneckBlock",
    "PrimaryCapsules",
    "Recompute",
    "Repeat",
    "ResidualBlock",
    "ReversibleCapsule",
    "ReversibleStack",
    "RoutingCapsules",
    "SparsePReLU",
    "StochasticBlock",
    "StochasticDepth",
    "WeightStandardizedConv2D",
    "WideBlock",
    "ZeroPadShortcut",
    "batch_entropy",
    "dynamic_routing",
    "linear_survival",
    "sda_routing",
    "squash",
]
