"""Grouped convolution that trains at full speed on a CPU too."""

import keras
from keras import ops

from tfdeep import backend


def split_convolution(x, kernel, groups: int, **options):
    """Convolve each of `groups` channel slices with its own filters.

    Equal to a native grouped convolution: group i maps input channels
    [i C/G, (i+1) C/G) with filters [i F/G, (i+1) F/G).
    """
    axis = 1 if options["data_format"] == "channels_first" else -1
    slices = ops.split(x, groups, axis=axis)
    kernels = ops.split(kernel, groups, axis=-1)
    outputs = [
        ops.conv(part, filters, **options)
        for part, filters in zip(slices, kernels, strict=True)
    ]
    return ops.concatenate(outputs, axis=axis)


@keras.saving.register_keras_serializable(package="tfdeep")
class GroupedConv2D(keras.layers.Conv2D):
    """`keras.layers.Conv2D` whose `groups` also train fast on a CPU.

    Weights, arguments and results are those of `keras.layers.Conv2D`. On an
    accelerator the native grouped convolution runs; on a CPU, where it goes
    through a slow path, one convolution per group and a concatenation.

    Reference:
        Xie et al., "Aggregated Residual Transformations for Deep Neural
        Networks", 2017, figure 3: forms (b), split and concatenate, and (c),
        grouped convolution, are equal.

    Args:
        filters: integer, the number of output channels, divisible by
            `groups`.
        kernel_size: integer or pair of integers.
        groups: integer, the cardinality. Defaults to 1.
        **kwargs: the other arguments of `keras.layers.Conv2D`.

    Input shape:
        `(batch, height, width, channels)`, channels divisible by `groups`.

    Output shape:
        `(batch, new_height, new_width, filters)`.

    Raises:
        ValueError: if `filters` or the channels are not divisible by
            `groups`.

    Example:
        >>> import numpy as np, tfdeep
        >>> layer = tfdeep.layers.GroupedConv2D(8, 3, groups=4)
        >>> tuple(layer(np.ones((1, 5, 5, 8))).shape)
        (1, 3, 3, 8)
        >>> tuple(layer.kernel.shape)
        (3, 3, 2, 8)
    """

    def __init__(self, filters: int, kernel_size, groups: int = 1, **kwargs):
        super().__init__(filters, kernel_size, groups=groups, **kwargs)

    def convolution_op(self, inputs, kernel):
        if self.groups == 1 or backend.has_accelerator():
            return super().convolution_op(inputs, kernel)
        return split_convolution(
            inputs,
            kernel,
            self.groups,
            strides=list(self.strides),
            padding=self.padding,
            dilation_rate=self.dilation_rate,
            data_format=self.data_format,
        )
