"""Residual blocks with the activation before the convolutions."""

import keras

from tfdeep.checks import check_choice, check_probability
from tfdeep.layers.residual import ResidualBlock


@keras.saving.register_keras_serializable(package="tfdeep")
class PreActivationBlock(ResidualBlock):
    """Two 3x3 convolutions, each after its normalization and ReLU.

        shortcut(x) + conv(relu(BN(conv(relu(BN(x))))))

    Nothing acts on the sum, so the identity runs through the whole net.
    Where the shape changes, branch and shortcut share the first BN-ReLU.

    Reference:
        He et al., "Identity Mappings in Deep Residual Networks", 2016,
        figure 1b and eq. 5.

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
        >>> block = tfdeep.layers.PreActivationBlock(4)
        >>> tuple(block(np.ones((2, 6, 6, 4))).shape)
        (2, 6, 6, 4)
    """

    preactivated = True

    def branch_layers(self, channels):
        return [
            self.conv_unit(self.filters, 3, self.strides),
            *self.active_units(self.filters),
            self.conv_unit(self.filters, 3),
        ]


@keras.saving.register_keras_serializable(package="tfdeep")
class PreActivationBottleneckBlock(ResidualBlock):
    """A 1x1, a 3x3 and a 1x1 convolution, each after BN and ReLU.

    The block of pre-activation ResNet-164 and 1001 (`stride_on="1x1"`) and
    of ResNet-200 (`stride_on="3x3"`).

    Reference:
        He et al., "Identity Mappings in Deep Residual Networks", 2016,
        section 4.

    Args:
        filters: integer, the inner width, a quarter of the output's.
        strides: integer, of the convolution that subsamples. Defaults to 1.
        stride_on: `"3x3"` (default), which looks at every pixel, or `"1x1"`,
            the first convolution, which is cheaper: a fourth of the pixels
            at `strides=2`.
        **kwargs: `shortcut`, `survival_probability`, `norm`, `data_format`,
            `weight_decay`, `fan_mode`, `use_bias`, `seed`, `name`, `dtype`;
            see `ResidualBlock`.

    Input shape:
        `(batch, height, width, channels)`.

    Output shape:
        `(batch, ceil(height / strides), ceil(width / strides), 4 filters)`.

    Example:
        >>> import numpy as np, tfdeep
        >>> block = tfdeep.layers.PreActivationBottleneckBlock(4)
        >>> tuple(block(np.ones((2, 6, 6, 4))).shape)
        (2, 6, 6, 16)
    """

    expansion = 4
    preactivated = True

    def __init__(
        self, filters: int, strides: int = 1, stride_on: str = "3x3", **kwargs
    ):
        super().__init__(filters, strides, **kwargs)
        check_choice("stride_on", stride_on, ("3x3", "1x1"))
        self.stride_on = stride_on

    def branch_layers(self, channels):
        first, second = self.strides, 1
        if self.stride_on == "3x3":
            first, second = second, first
        return [
            self.conv_unit(self.filters, 1, first),
            *self.active_units(self.filters),
            self.conv_unit(self.filters, 3, second),
            *self.active_units(self.filters),
            self.conv_unit(self.output_filters, 1),
        ]

    def get_config(self):
        return {**super().get_config(), "stride_on": self.stride_on}


@keras.saving.register_keras_serializable(package="tfdeep")
class WideBlock(PreActivationBlock):
    """A pre-activation block with dropout between its convolutions.

        shortcut(x) + conv(dropout(relu(BN(conv(relu(BN(x)))))))

    At `rate=0` it is `PreActivationBlock`, initialised by fan-in.

    Reference:
        Zagoruyko and Komodakis, "Wide Residual Networks", 2016, figure 1d.

    Args:
        filters: integer, the channels of both convolutions.
        strides: integer, of the first convolution. Defaults to 1.
        rate: float in [0, 1], the probability of *dropping* a value.
            Defaults to 0.
        fan_mode: `"fan_in"` (as in the authors' code) or `"fan_out"`.
        **kwargs: `shortcut`, `survival_probability`, `norm`, `data_format`,
            `weight_decay`, `use_bias`, `seed`, `name`, `dtype`; see
            `ResidualBlock`.

    Input shape:
        `(batch, height, width, channels)`.

    Output shape:
        `(batch, ceil(height / strides), ceil(width / strides), filters)`.

    Example:
        >>> import numpy as np, tfdeep
        >>> block = tfdeep.layers.WideBlock(8, strides=2, rate=0.3)
        >>> tuple(block(np.ones((2, 6, 6, 4))).shape)
        (2, 3, 3, 8)
    """

    def __init__(
        self,
        filters: int,
        strides: int = 1,
        rate: float = 0.0,
        fan_mode: str = "fan_in",
        **kwargs,
    ):
        super().__init__(filters, strides, fan_mode=fan_mode, **kwargs)
        check_probability("rate", rate)
        self.rate = rate

    def branch_layers(self, channels):
        *layers, last = super().branch_layers(channels)
        return [*layers, *self.dropout_units(self.rate), last]

    def get_config(self):
        return {**super().get_config(), "rate": self.rate}
