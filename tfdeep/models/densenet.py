"""DenseNet: every layer sees the features of all layers before it."""

import keras

from tfdeep.checks import check_positive
from tfdeep.layers import DenseBlock, DenseTransition
from tfdeep.models.architecture import (
    Architecture,
    blocks_per_stage,
    look_up_depth,
)

IMAGENET_DEPTHS = {
    121: (6, 12, 24, 16),
    161: (6, 12, 36, 24),
    169: (6, 12, 32, 32),
    201: (6, 12, 48, 32),
    264: (6, 12, 64, 48),
}


def DenseNet(
    depth: int,
    growth_rate: int | None = None,
    bottleneck: bool = True,
    compression: float | None = None,
    rate: float = 0.0,
    recompute: bool = False,
    stem_filters: int | None = None,
    **architecture,
) -> keras.Model:
    """Densely connected network, DenseNet or DenseNet-BC.

    The cifar form has depth 6m+4 with bottleneck (DenseNet-BC; 40, 100, 190,
    250), 3m+4 without; the imagenet form 121, 161, 169, 201 or 264.

    Reference:
        Huang et al., "Densely Connected Convolutional Networks", 2017,
        tables 1 and 2.

    Args:
        depth: integer, the number of weighted layers.
        growth_rate: integer, k. Defaults to 12 (cifar), 32 (imagenet), 48
            (imagenet, depth 161).
        bottleneck: boolean, 1x1 convolutions and compression (BC).
        compression: float in (0, 1]. Defaults to 0.5 with bottleneck, else
            to 1.
        rate: float in [0, 1], the probability of *dropping* a value after
            each convolution but the first; the paper uses 0.2 without
            augmentation. Defaults to 0.
        recompute: boolean, less memory for more time; see
            `tfdeep.layers.DenseBlock`.
        stem_filters: integer. Defaults to 2k with bottleneck, else to 16.
        **architecture: `input_shape`, `classes`, `form`, `norm`,
            `include_top`, `classifier_activation`, `data_format`,
            `weight_decay` (1e-4), `fan_mode`, `use_bias`, `seed`, `name`;
            see `tfdeep.models.Architecture`.

    Returns:
        A Functional `keras.Model`, uncompiled.

    Raises:
        ValueError: for a depth that the form does not have, or a
            `survival_probability` or `stacked`: a DenseNet has neither a
            residual branch nor equal blocks.

    Example:
        >>> import tfdeep
        >>> tfdeep.models.DenseNet(40, growth_rate=12,
        ...                        bottleneck=False).count_params()
        1037818
    """
    settings = Architecture(**{"weight_decay": 1e-4, **architecture})
    if settings.survival_probability < 1:
        raise ValueError(
            "`survival_probability` must be 1, as a DenseNet has no residual "
            "branch to skip. Received: "
            f"survival_probability={settings.survival_probability}. Use "
            "`rate` to regularise it."
        )
    if settings.stacked is True:
        raise ValueError(
            "`stacked` must be False or 'auto', as the layers of a DenseNet "
            "differ in their shapes. Received: stacked=True"
        )
    depths, default_growth = _depths(depth, bottleneck, settings.imagenet)
    growth_rate = default_growth if growth_rate is None else growth_rate
    check_positive("growth_rate", growth_rate)
    if stem_filters is None:
        stem_filters = 2 * growth_rate if bottleneck else 16
    check_positive("stem_filters", stem_filters)
    if compression is None:
        compression = 0.5 if bottleneck else 1.0

    inputs = settings.input()
    x = settings.stem(inputs, stem_filters, activate=False)
    for stage, num_layers in enumerate(depths, start=1):
        if stage > 1:
            x = DenseTransition(
                compression,
                rate,
                name=f"transition{stage - 1}",
                **settings.unit_options(),
            )(x)
        x = DenseBlock(
            num_layers,
            growth_rate,
            bottleneck,
            rate,
            recompute,
            name=f"dense_block{stage}",
            **settings.unit_options(),
        )(x)
    x = settings.activation(x)
    return settings.model(inputs, x, f"densenet_{depth}_{growth_rate}")


def _depths(depth: int, bottleneck: bool, imagenet: bool):
    """Layers per block and the paper's growth rate."""
    if imagenet:
        depths = look_up_depth(depth, IMAGENET_DEPTHS, "DenseNet")
        return depths, 48 if depth == 161 else 32
    family = "CIFAR DenseNet-BC" if bottleneck else "CIFAR DenseNet"
    step = 6 if bottleneck else 3
    return (blocks_per_stage(depth, step, 4, family),) * 3, 12
