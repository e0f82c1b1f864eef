"""ResNeXt: aggregated residual transformations."""

import keras

from tfdeep.layers import AggregatedBlock
from tfdeep.models.architecture import (
    Architecture,
    blocks_per_stage,
    look_up_depth,
    residual_model,
)
from tfdeep.models.resnet import IMAGENET_DEPTHS, IMAGENET_FILTERS

DEPTHS = {depth: IMAGENET_DEPTHS[depth] for depth in (50, 101, 152)}


def ResNeXt(
    depth: int, cardinality: int = 32, base_width: int = 4, **architecture
) -> keras.Model:
    """ResNeXt-depth, cardinality x base width d, as in ResNeXt-29, 8x64d.

    The cifar form has depth 9n+2 (29), the imagenet form 50, 101 or 152.

    Reference:
        Xie et al., "Aggregated Residual Transformations for Deep Neural
        Networks", 2017, table 1 and section 5.

    Args:
        depth: integer, the number of weighted layers.
        cardinality: integer, C, the number of groups. Defaults to 32.
        base_width: integer, d, channels per group in the first stage.
            Defaults to 4.
        **architecture: `input_shape`, `classes`, `form`,
            `survival_probability`, `norm`, `include_top`,
            `classifier_activation`, `data_format`, `weight_decay` (5e-4),
            `fan_mode`, `use_bias`, `seed`, `stacked`, `name`; see
            `tfdeep.models.Architecture`.

    Returns:
        A Functional `keras.Model`, uncompiled.

    Raises:
        ValueError: for a depth that the form does not have, or a group
            without channels.

    Example:
        >>> import tfdeep
        >>> tfdeep.models.ResNeXt(29, 32, 4).count_params()
        4800970
    """
    settings = Architecture(**{"weight_decay": 5e-4, **architecture})
    if settings.imagenet:
        _, depths = look_up_depth(depth, DEPTHS, "ResNeXt")
        filters = IMAGENET_FILTERS
    else:
        depths = (blocks_per_stage(depth, 9, 2, "CIFAR ResNeXt"),) * 3
        filters = (64, 128, 256)
    return residual_model(
        settings,
        AggregatedBlock,
        depths,
        filters,
        64,
        f"resnext_{depth}_{cardinality}x{base_width}d",
        cardinality=cardinality,
        base_width=base_width,
    )
