"""The parameter-free shortcut of residual nets (option A)."""

import keras
from keras import ops

from tfdeep.checks import check_choice, check_positive


def zero_pad_shortcut(x, filters: int, strides: int, data_format: str):
    """Keep every `strides`-th pixel, append zero channels up to `filters`."""
    first = data_format == "channels_first"
    missing = filters - x.shape[1 if first else -1]
    step = slice(None, None, strides)
    if first:
        x, padding = x[:, :, step, step], [(0, 0), (0, missing), (0, 0), (0, 0)]
    else:
        x, padding = x[:, step, step, :], [(0, 0), (0, 0), (0, 0), (0, missing)]
    return ops.pad(x, padding) if missing else x


@keras.saving.register_keras_serializable(package="tfdeep")
class ZeroPadShortcut(keras.layers.Layer):
    """Identity shortcut across a change of shape, without parameters.

    Subsamples the image by its strides and appends channels of zeros: option
    A of He et al. `subsample="average"` averages each window instead of
    keeping its first pixel, as the stochastic depth code does.

    Reference:
        He et al., "Deep Residual Learning for Image Recognition", 2015,
        section 3.3.

    Args:
        filters: integer, the number of output channels.
        strides: integer, the subsampling factor. Defaults to 1.
        subsample: `"slice"` or `"average"`.
        data_format: `"channels_last"`, `"channels_first"` or `None`.
        **kwargs: `name`, `dtype`.

    Input shape:
        `(batch, height, width, channels)`, channels at most `filters`.

    Output shape:
        `(batch, ceil(height / strides), ceil(width / strides), filters)`.

    Raises:
        ValueError: if the input has more channels than `filters`.

    Example:
        >>> import numpy as np, tfdeep
        >>> layer = tfdeep.layers.ZeroPadShortcut(8, strides=2)
        >>> tuple(layer(np.ones((1, 5, 4, 3))).shape)
        (1, 3, 2, 8)
    """

    def __init__(
        self,
        filters: int,
        strides: int = 1,
        subsample: str = "slice",
        data_format: str | None = None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        check_positive("filters", filters)
        check_positive("strides", strides)
        check_choice("subsample", subsample, ("slice", "average"))
        self.filters = filters
        self.strides = strides
        self.subsample = subsample
        self.data_format = data_format or keras.config.image_data_format()

    def build(self, input_shape):
        axis = 1 if self.data_format == "channels_first" else -1
        if input_shape[axis] > self.filters:
            raise ValueError(
                f"The input has {input_shape[axis]} channels. A zero-padding "
                f"shortcut to {self.filters} filters needs at most "
                f"{self.filters}. Use shortcut 'B' where channels decrease."
            )

    def call(self, inputs):
        strides = self.strides
        if self.subsample == "average" and strides > 1:
            inputs = ops.average_pool(
                inputs,
                strides,
                strides,
                padding="same",
                data_format=self.data_format,
            )
            strides = 1
        return zero_pad_shortcut(
            inputs, self.filters, strides, self.data_format
        )

    def compute_output_shape(self, input_shape):
        return strided_shape(
            input_shape, self.filters, self.strides, self.data_format
        )

    def get_config(self):
        return {
            **super().get_config(),
            "filters": self.filters,
            "strides": self.strides,
            "subsample": self.subsample,
            "data_format": self.data_format,
        }


def strided_shape(shape, filters: int, strides: int, data_format: str):
    """The shape after a "same" convolution with strides."""
    first = data_format == "channels_first"
    batch, *sizes = shape
    sizes = sizes[1:] if first else sizes[:-1]
    sizes = [size if size is None else -(-size // strides) for size in sizes]
    if first:
        return (batch, filters, *sizes)
    return (batch, *sizes, filters)
