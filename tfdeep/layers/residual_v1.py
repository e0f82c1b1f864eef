"""Residual blocks with the activation after the addition."""

import keras

from tfdeep.checks import check_positive
from tfdeep.layers.residual import ResidualBlock


@keras.saving.register_keras_serializable(package="tfdeep")
class BasicBlock(ResidualBlock):
    """Two 3x3 convolutions, activation after the addition.

        relu(shortcut(x) + BN(conv(relu(BN(conv(x))))))

    The block of ResNet-18, 34 and the CIFAR nets of depth 6n+2.

    Reference:
        He et al., "Deep Residual Learning for Image Recognition", 2015,
        figure 5 left.

    Args:
        filters: integer, the channels of both convolutions.
        strides: integer, of the first convolution. Defaults to 1.
        shortcut: `"A"`, `"A-average"`, `"B"`, `"C"` or `"none"`.
        survival_probability: float in [0, 1]. Defaults to 1.
        **kwargs: `norm`, `data_format`, `weight_decay`, `fan_mode`,
            `use_bias`, `seed`, `name`, `dtype`; see `ResidualBlock`.

    Input shape:
        `(batch, height, width, channels)`.

    Output shape:
        `(batch, ceil(height / strides), ceil(width / strides), filters)`.

    Example:
        >>> import numpy as np, tfdeep
        >>> block = tfdeep.layers.BasicBlock(8, strides=2)
        >>> tuple(block(np.ones((2, 6, 6, 4))).shape)
        (2, 3, 3, 8)
    """

    def branch_layers(self, channels):
        return [
            self.conv_unit(self.filters, 3, self.strides),
            self.norm_unit(self.filters),
            self.relu_unit(),
            self.conv_unit(self.filters, 3),
            self.norm_unit(self.filters),
        ]


@keras.saving.register_keras_serializable(package="tfdeep")
class BottleneckBlock(ResidualBlock):
    """A 1x1, a 3x3 and a 1x1 convolution, activation after the addition.

    The 1x1 convolutions narrow to `width` channels and widen to
    `4 * filters`; the stride is on the 3x3. The block of ResNet-50 to 152,
    and with `width=2 * filters` of the wide ResNet-50-2.

    Reference:
        He et al., "Deep Residual Learning for Image Recognition", 2015,
        figure 5 right. Deviation: the stride is on the 3x3 convolution, as
        in the authors' later code, not on the first 1x1.

    Args:
        filters: integer, a quarter of the output's channels.
        strides: integer, of the 3x3 convolution. Defaults to 1.
        width: integer, the channels of the 3x3 convolution, or `None` for
            `filters`.
        **kwargs: `shortcut`, `survival_probability`, `norm`, `data_format`,
            `weight_decay`, `fan_mode`, `use_bias`, `seed`, `name`, `dtype`;
            see `ResidualBlock`.

    Input shape:
        `(batch, height, width, channels)`.

    Output shape:
        `(batch, ceil(height / strides), ceil(width / strides), 4 filters)`.

    Example:
        >>> import numpy as np, tfdeep
        >>> block = tfdeep.layers.BottleneckBlock(8, strides=2)
        >>> tuple(block(np.ones((2, 6, 6, 16))).shape)
        (2, 3, 3, 32)
    """

    expansion = 4
    groups = 1

    def __init__(
        self, filters: int, strides: int = 1, width: int | None = None, **kwargs
    ):
        super().__init__(filters, strides, **kwargs)
        if width is not None:
            check_positive("width", width)
        self.width = width

    def branch_layers(self, channels):
        width = self.width or self.filters
        return [
            self.conv_unit(width, 1),
            self.norm_unit(width),
            self.relu_unit(),
            self.conv_unit(width, 3, self.strides, self.groups),
            self.norm_unit(width),
            self.relu_unit(),
            self.conv_unit(self.output_filters, 1),
            self.norm_unit(self.output_filters),
        ]

    def get_config(self):
        return {**super().get_config(), "width": self.width}


@keras.saving.register_keras_serializable(package="tfdeep")
class AggregatedBlock(BottleneckBlock):
    """A bottleneck whose 3x3 convolution is split into groups (ResNeXt).

    The 3x3 convolution has D = C floor(d filters / 64) channels in C groups,
    with C the cardinality and d the base width; `cardinality=1,
    base_width=64` is `BottleneckBlock`.

    Reference:
        Xie et al., "Aggregated Residual Transformations for Deep Neural
        Networks", 2017, figure 3c and table 1.

    Args:
        filters: integer, a quarter of the output's channels.
        strides: integer, of the 3x3 convolution. Defaults to 1.
        cardinality: integer, C, the number of groups. Defaults to 32.
        base_width: integer, d, channels per group at 64 filters. Defaults
            to 4.
        **kwargs: as for `BottleneckBlock`, without `width`.

    Input shape:
        `(batch, height, width, channels)`.

    Output shape:
        `(batch, ceil(height / strides), ceil(width / strides), 4 filters)`.

    Raises:
        ValueError: if a group would have no channel.

    Example:
        >>> import numpy as np, tfdeep
        >>> block = tfdeep.layers.AggregatedBlock(16, 1, 4, 16)
        >>> tuple(block(np.ones((2, 6, 6, 16))).shape), block.width
        ((2, 6, 6, 64), 16)
    """

    def __init__(
        self,
        filters: int,
        strides: int = 1,
        cardinality: int = 32,
        base_width: int = 4,
        **kwargs,
    ):
        check_positive("filters", filters)
        check_positive("cardinality", cardinality)
        check_positive("base_width", base_width)
        width = cardinality * (filters * base_width // 64)
        if width < 1:
            raise ValueError(
                f"`base_width` must be {-(-64 // filters)} or more with "
                f"{filters} filters: a group has filters * base_width / 64 "
                "channels and needs at least one. Received: "
                f"base_width={base_width}"
            )
        super().__init__(filters, strides, width, **kwargs)
        self.cardinality = self.groups = cardinality
        self.base_width = base_width

    def get_config(self):
        config = super().get_config()
        config.pop("width")
        return {
            **config,
            "cardinality": self.cardinality,
            "base_width": self.base_width,
        }
