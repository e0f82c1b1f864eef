"""Wide residual networks: fewer layers, more channels."""

from numbers import Real

import keras

from tfdeep.layers import AggregatedBlock, BasicBlock, WideBlock
from tfdeep.models.architecture import (
    Architecture,
    blocks_per_stage,
    look_up_depth,
    residual_model,
)
from tfdeep.models.resnet import IMAGENET_DEPTHS, IMAGENET_FILTERS


def WideResNet(
    depth: int, width: float, rate: float = 0.0, **architecture
) -> keras.Model:
    """Wide residual network, WRN-depth-width.

    The cifar form has depth 6n+4 (10, 16, 22, 28, 40), pre-activation basic
    blocks of 16, 32 and 64 times `width` channels and optional dropout
    between their convolutions. The imagenet form widens ResNet-18 and 34, or
    the 3x3 convolutions alone of ResNet-50, 101, 152 and 200; it is
    post-activation, as the authors'.

    The WRN-16-4 and WRN-40-4 that De et al. train privately are

        WideResNet(16, 4, norm="group", norm_groups=16, activation_first=True,
                   weight_standardization=True, weight_decay=0)

    Reference:
        Zagoruyko and Komodakis, "Wide Residual Networks", 2016, table 1;
        De et al., "Unlocking High-Accuracy Differentially Private Image
        Classification through Scale", 2022.

    Args:
        depth: integer, the number of weighted layers.
        width: number, k, the factor on the channels.
        rate: float in [0, 1], the probability of *dropping* a value between
            the convolutions of a block (cifar form). Defaults to 0.
        **architecture: `input_shape`, `classes`, `form`,
            `survival_probability`, `norm`, `include_top`,
            `classifier_activation`, `data_format`, `weight_decay` (5e-4),
            `fan_mode` ("fan_in"), `use_bias`, `seed`, `stacked`,
            `norm_groups`, `activation_first`, `weight_standardization`,
            `name`; see `tfdeep.models.Architecture`.

    Returns:
        A Functional `keras.Model`, uncompiled.

    Raises:
        ValueError: for a depth that the form does not have, a `width` that
            gives a fraction of a channel, or dropout in the imagenet form.

    Example:
        >>> import tfdeep
        >>> tfdeep.models.WideResNet(16, 4).count_params()
        2752506
    """
    settings = Architecture(
        **{"weight_decay": 5e-4, "fan_mode": "fan_in", **architecture}
    )
    name = f"wide_resnet_{depth}_{width}"
    if not settings.imagenet:
        depths = (blocks_per_stage(depth, 6, 4, "CIFAR wide ResNet"),) * 3
        filters = widened((16, 32, 64), width)
        return residual_model(
            settings, WideBlock, depths, filters, 16, name, rate=rate
        )
    if rate:
        raise ValueError(
            "`rate` must be 0 with form='imagenet', which has no dropout. "
            f"Received: rate={rate}. Use the cifar form for dropout."
        )
    kind, depths = look_up_depth(depth, IMAGENET_DEPTHS, "WideResNet")
    wide = widened(IMAGENET_FILTERS, width)
    if kind == "basic":
        return residual_model(settings, BasicBlock, depths, wide, 64, name)

    # One group of base width 64k: a bottleneck whose 3x3 is k times wider.
    (base_width,) = widened((64,), width)
    return residual_model(
        settings,
        AggregatedBlock,
        depths,
        IMAGENET_FILTERS,
        64,
        name,
        cardinality=1,
        base_width=base_width,
    )


def widened(filters, width: float) -> tuple[int, ...]:
    """The channels times k, which must be whole and positive."""
    number = isinstance(width, Real) and not isinstance(width, bool)
    if not number or not 0 < float(width) < float("inf"):
        raise ValueError(
            "`width` must be a positive number, the factor on the channels. "
            f"Received: width={width!r}. Pass for example 2."
        )
    wide = [width * count for count in filters]
    if any(count < 1 or count != int(count) for count in wide):
        raise ValueError(
            f"`width` must give whole numbers of channels, not {wide}. "
            f"Received: width={width}. Pass for example 2."
        )
    return tuple(int(count) for count in wide)
