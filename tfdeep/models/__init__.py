"""Reference networks of the papers, as Functional Keras models."""

from tfdeep.models.architecture import Architecture
from tfdeep.models.counting import (
    ModelCount,
    count,
    count_rule,
    multiply_adds,
)
from tfdeep.models.densenet import DenseNet
from tfdeep.models.momentum_capsnet import (
    MomentumCapsNet,
    capsule_classifier,
)
from tfdeep.models.replace import replace
from tfdeep.models.resnet import ResNet
from tfdeep.models.resnext import ResNeXt
from tfdeep.models.stacking import stack, unstack
from tfdeep.models.wide_resnet import WideResNet

__all__ = [
    "Architecture",
    "DenseNet",
    "MomentumCapsNet",
    "ResNeXt",
    "ResNet",
    "WideResNet",
    "capsule_classifier",
    "ModelCount",
    "count",
    "count_rule",
    "multiply_adds",
    "replace",
    "stack",
    "unstack",
]
