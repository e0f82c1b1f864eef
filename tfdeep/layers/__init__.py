"""Layers to put into a Keras model."""

from tfdeep.layers.dense_block import DenseBlock
from tfdeep.layers.dense_transition import DenseTransition
from tfdeep.layers.drop_path import DropPath
from tfdeep.layers.entropy import BatchEntropy, batch_entropy
from tfdeep.layers.grouped_conv import GroupedConv2D
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
from tfdeep.layers.shortcuts import ZeroPadShortcut
from tfdeep.layers.stochastic_block import StochasticBlock
from tfdeep.layers.stochastic_depth import StochasticDepth, linear_survival

__all__ = [
    "AggregatedBlock",
    "BasicBlock",
    "BatchEntropy",
    "BottleneckBlock",
    "DenseBlock",
    "DenseTransition",
    "DropPath",
    "GroupedConv2D",
    "PreActivationBlock",
    "PreActivationBottleneckBlock",
    "Repeat",
    "ResidualBlock",
    "StochasticBlock",
    "StochasticDepth",
    "WideBlock",
    "ZeroPadShortcut",
    "batch_entropy",
    "linear_survival",
]
