"""Reference networks of the papers, as Functional Keras models."""

from tfdeep.models.architecture import Architecture
from tfdeep.models.counting import (
    LayerCount,
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
from tfdeep.models.residual_branches import (
    ResidualBranch,
    ResidualBranches,
    find_residual_branches,
)
from tfdeep.models.resnet import ResNet
from tfdeep.models.resnext import ResNeXt
from tfdeep.models.retrofit import (
    add_drop_path,
    add_stochastic_depth,
    remove_stochastic_depth,
)
from tfdeep.models.stacking import stack, unstack
from tfdeep.models.wide_resnet import WideResNet

__all__ = [
    "Architecture",
    "DenseNet",
    "LayerCount",
    "ModelCount",
    "MomentumCapsNet",
    "ResNeXt",
    "ResNet",
    "ResidualBranch",
    "ResidualBranches",
    "WideResNet",
    "add_drop_path",
    "add_stochastic_depth",
    "capsule_classifier",
    "count",
    "count_rule",
    "find_residual_branches",
    "multiply_adds",
    "remove_stochastic_depth",
    "replace",
    "stack",
    "unstack",
]
