"""Residual networks, with the activation after or before the addition."""

import keras

from tfdeep.checks import check_choice
from tfdeep.layers import (
    BasicBlock,
    BottleneckBlock,
    PreActivationBlock,
    PreActivationBottleneckBlock,
)
from tfdeep.models.architecture import (
    Architecture,
    blocks_per_stage,
    look_up_depth,
    residual_model,
)

BLOCKS = {
    ("basic", False): BasicBlock,
    ("bottleneck", False): BottleneckBlock,
    ("basic", True): PreActivationBlock,
    ("bottleneck", True): PreActivationBottleneckBlock,
}
IMAGENET_DEPTHS: dict[int, tuple[str, tuple[int, ...]]] = {
    18: ("basic", (2, 2, 2, 2)),
    34: ("basic", (3, 4, 6, 3)),
    50: ("bottleneck", (3, 4, 6, 3)),
    101: ("bottleneck", (3, 4, 23, 3)),
    152: ("bottleneck", (3, 8, 36, 3)),
    200: ("bottleneck", (3, 24, 36, 3)),
}
IMAGENET_FILTERS: tuple[int, ...] = (64, 128, 256, 512)


def ResNet(
    depth: int,
    block: str | None = None,
    preactivation: bool = False,
    shortcut: str | None = None,
    **architecture,
) -> keras.Model:
    """Residual network of He et al., post- or pre-activation.

    The cifar form has depth 6n+2 (basic blocks; 20, 32, 44, 56, 110, 1202)
    or 9n+2 (`block="bottleneck"`, which pre-activation nets of 164 and 1001
    layers take by themselves); the imagenet form 18, 34, 50, 101, 152 or
    200. `shortcut="none"` gives the plain net of the same depth;
    `survival_probability=0.5` trains it with stochastic depth.

    Reference:
        He et al., "Deep Residual Learning for Image Recognition", 2015, and
        "Identity Mappings in Deep Residual Networks", 2016. Deviations:
        strided convolutions pad as Keras' "same" does (more at the bottom
        right), and the stride of a bottleneck is on its 3x3 convolution,
        except in the cifar pre-activation nets, where it is on the first
        1x1 as in the authors' code.

    Args:
        depth: integer, the number of weighted layers.
        block: `"basic"`, `"bottleneck"`, or `None` for the paper's choice:
            by depth in the imagenet form; in the cifar form bottleneck for
            pre-activation nets of depth 9n+2 above 110, else basic.
        preactivation: boolean, BN and ReLU before each convolution.
        shortcut: `"A"`, `"A-average"`, `"B"`, `"C"`, `"none"`, or `None` for
            the paper's choice: A for basic blocks in the cifar form, else B.
        **architecture: `input_shape`, `classes`, `form`,
            `survival_probability`, `norm`, `include_top`,
            `classifier_activation`, `data_format`, `weight_decay` (1e-4),
            `fan_mode`, `use_bias`, `seed`, `stacked`, `name`; see
            `tfdeep.models.Architecture`.

    Returns:
        A Functional `keras.Model`, uncompiled.

    Raises:
        ValueError: for a depth that the form does not have; the message
            names the nearest ones.

    Example:
        >>> import tfdeep
        >>> tfdeep.models.ResNet(20).count_params()
        271098
        >>> deep = tfdeep.models.ResNet(32, survival_probability=0.5)
        >>> deep.get_layer("stage3_block5").survival_probability
        0.5
    """
    settings = Architecture(**{"weight_decay": 1e-4, **architecture})
    check_choice("block", block, ("basic", "bottleneck", None))
    if settings.imagenet:
        default, depths = look_up_depth(depth, IMAGENET_DEPTHS, "ResNet")
        block, filters, stem = block or default, IMAGENET_FILTERS, 64
    else:
        bottleneck = preactivation and (depth - 2) % 9 == 0
        default = "bottleneck" if bottleneck and depth > 110 else "basic"
        block = block or default
        step = {"basic": 6, "bottleneck": 9}[block]
        family = f"CIFAR ResNet with {block} blocks"
        depths = (blocks_per_stage(depth, step, 2, family),) * 3
        filters, stem = (16, 32, 64), 16
    if shortcut is None:
        plain_cifar = block == "basic" and not settings.imagenet
        shortcut = "A" if plain_cifar else "B"
    options = {}
    if preactivation and block == "bottleneck" and not settings.imagenet:
        options["stride_on"] = "1x1"
    return residual_model(
        settings,
        BLOCKS[block, bool(preactivation)],
        depths,
        filters,
        stem,
        f"resnet{'_v2' if preactivation else ''}_{depth}",
        shortcut=shortcut,
        **options,
    )
