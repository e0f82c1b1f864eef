"""Blocks and layers that compute: residual, dense, convolutions, shortcuts."""

import keras
from keras import layers

import tfdeep
import tfdeep.data
from tests.contract.cases.case import Case
from tests.contract.cases.factories import GROUP, STEADY, layer, pair
from tests.contract.cases.plain import (
    PenalizedPReLU,
    basic_branch,
    bottleneck_branch,
    conv,
    norm,
    preactivated_bottleneck_branch,
    preactivated_branch,
)

L, M = tfdeep.layers, tfdeep.models

BLOCKS = {
    "AggregatedBlock": Case(
        layer(L.AggregatedBlock, 4, 2, 2, 32),
        alone=GROUP,
        neutral=pair(
            layer(L.AggregatedBlock, 4, 1, 1, 64), layer(L.BottleneckBlock, 4)
        ),
    ),
    "BasicBlock": Case(
        layer(L.BasicBlock, 8, 2),
        alone=GROUP,
        neutral=pair(
            layer(L.BasicBlock, 4, shortcut="none"),
            lambda: keras.Sequential([*basic_branch(), layers.ReLU()]),
        ),
    ),
    "BasicBlock-padded": Case(
        layer(L.BasicBlock, 8, 2, "A-average", norm="group", use_bias=True)
    ),
    "BasicBlock-stochastic": Case(
        layer(L.BasicBlock, 8, 2, survival_probability=0.5),
        random=True,
        alone=GROUP,
    ),
    "BottleneckBlock": Case(
        layer(L.BottleneckBlock, 2, width=3),
        alone=GROUP,
        neutral=pair(
            layer(L.BottleneckBlock, 2, shortcut="none"),
            lambda: keras.Sequential([*bottleneck_branch(), layers.ReLU()]),
        ),
    ),
    "DenseBlock": Case(
        layer(L.DenseBlock, 2, 3, rate=0.2),
        random=True,
        alone=STEADY,
        neutral=pair(layer(L.DenseBlock, 0, 3), layers.Identity),
    ),
    "DenseBlock-recompute": Case(
        layer(L.DenseBlock, 2, 3, rate=0.2, recompute=True),
        random=True,
        alone=STEADY,
        neutral=pair(
            layer(L.DenseBlock, 3, 2, rate=0.2, recompute=True),
            layer(L.DenseBlock, 3, 2, rate=0.2),
        ),
    ),
    "DenseTransition": Case(
        layer(L.DenseTransition, 0.75, rate=0.2),
        random=True,
        alone=STEADY,
        neutral=pair(
            layer(L.DenseTransition, 1.0),
            lambda: keras.Sequential(
                [norm(), layers.ReLU(), conv(4, 1), layers.AveragePooling2D(2)]
            ),
        ),
    ),
    "GroupedConv2D": Case(
        layer(L.GroupedConv2D, 6, 3, 2),
        neutral=pair(layer(L.GroupedConv2D, 6, 3), lambda: layers.Conv2D(6, 3)),
    ),
    "PreActivationBlock": Case(
        layer(L.PreActivationBlock, 8, 2, "A"),
        alone=GROUP,
        neutral=pair(
            layer(L.PreActivationBlock, 4, shortcut="none"),
            lambda: keras.Sequential(preactivated_branch()),
        ),
    ),
    "PreActivationBottleneckBlock": Case(
        layer(L.PreActivationBottleneckBlock, 2, 2, "1x1"),
        alone=GROUP,
        neutral=pair(
            layer(L.PreActivationBottleneckBlock, 2, shortcut="none"),
            lambda: keras.Sequential(preactivated_bottleneck_branch()),
        ),
    ),
    "WideBlock": Case(
        layer(L.WideBlock, 8, 2, rate=0.3, shortcut="C"),
        random=True,
        alone=STEADY,
        neutral=pair(layer(L.WideBlock, 4), layer(L.PreActivationBlock, 4)),
    ),
    "SparsePReLU": Case(
        layer(L.SparsePReLU, 0.01),
        data_format=False,
        masked=lambda inside: L.SparsePReLU(),
        holds_a_layer=False,
        neutral=pair(
            layer(L.SparsePReLU),
            lambda: PenalizedPReLU(shared_axes=[1, 2]),
        ),
    ),
    "WeightStandardizedConv2D": Case(
        layer(L.WeightStandardizedConv2D, 6, 3),
        # The least variance is far from what kernels have.
        neutral=pair(
            layer(L.WeightStandardizedConv2D, 6, 3, epsilon=0.0),
            layer(L.WeightStandardizedConv2D, 6, 3),
        ),
    ),
    "ZeroPadShortcut": Case(
        layer(L.ZeroPadShortcut, 6, 2, "average"),
        neutral=pair(layer(L.ZeroPadShortcut, 4), layers.Identity),
    ),
    "RandomPadCrop": Case(
        layer(tfdeep.data.RandomPadCrop, padding=1),
        random=True,
        free_sizes=False,
        alone={"padding": 0},
        neutral=pair(
            layer(tfdeep.data.RandomPadCrop, padding=0), layers.Identity
        ),
    ),
}
