"""The reference networks."""

import tfdeep
from tests.contract.cases.case import Case
from tests.contract.cases.factories import GROUP, STEADY, model, pair
from tests.contract.cases.plain import bottleneck_resnext, plain_resnet

L, M = tfdeep.layers, tfdeep.models

MODELS = {
    "DenseNet": Case(
        model(M.DenseNet, 10, 4, recompute=True, rate=0.2),
        random=True,
        alone=STEADY,
        neutral=pair(
            model(M.DenseNet, 10, 4, recompute=True), model(M.DenseNet, 10, 4)
        ),
    ),
    "ResNeXt": Case(
        model(M.ResNeXt, 11, 2, 2),
        alone=GROUP,
        neutral=pair(model(M.ResNeXt, 11, 1, 64), bottleneck_resnext),
    ),
    "ResNet": Case(
        model(M.ResNet, 8, survival_probability=0.5),
        random=True,
        alone=GROUP,
        neutral=pair(model(M.ResNet, 8, shortcut="none"), plain_resnet),
    ),
    "WideResNet": Case(
        model(M.WideResNet, 10, 1, rate=0.3),
        random=True,
        alone=STEADY,
        neutral=pair(
            model(M.WideResNet, 10, 1),
            model(M.ResNet, 8, preactivation=True, shortcut="B"),
        ),
    ),
    "WideResNet-private": Case(
        model(
            M.WideResNet,
            10,
            1,
            norm="group",
            norm_groups=4,
            activation_first=True,
            weight_standardization=True,
        )
    ),
}
