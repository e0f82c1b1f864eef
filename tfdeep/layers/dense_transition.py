"""The transition between dense blocks: fewer channels, half the size."""

import math

import keras

from tfdeep.checks import check_images, check_probability
from tfdeep.layers.units import ConvUnits


@keras.saving.register_keras_serializable(package="tfdeep")
class DenseTransition(ConvUnits):
    """BN - ReLU - 1x1 convolution - 2x2 average pooling.

    The convolution keeps `floor(compression * channels)` channels.

    Reference:
        Huang et al., "Densely Connected Convolutional Networks", 2017,
        section 3, "Pooling layers" and "Compression".

    Args:
        compression: float in (0, 1], the fraction of channels kept.
            Defaults to 0.5.
        rate: float in [0, 1], the probability of *dropping* a value after
            the convolution. Defaults to 0.
        **kwargs: `norm`, `data_format`, `weight_decay`, `fan_mode`,
            `use_bias`, `seed`, `name`, `dtype`.

    Input shape:
        `(batch, height, width, channels)`.

    Output shape:
        `(batch, height // 2, width // 2, floor(compression * channels))`.

    Raises:
        ValueError: if `compression` is outside (0, 1] or leaves no channel.

    Example:
        >>> import numpy as np, tfdeep
        >>> layer = tfdeep.layers.DenseTransition(compression=0.5)
        >>> tuple(layer(np.ones((2, 6, 6, 9))).shape)
        (2, 3, 3, 4)
    """

    def __init__(self, compression: float = 0.5, rate: float = 0.0, **kwargs):
        super().__init__(**kwargs)
        check_probability("rate", rate)
        if not 0 < compression <= 1:
            raise ValueError(
                "`compression` must be in (0, 1]. Received: "
                f"compression={compression}. Pass the fraction of channels to "
                "keep, such as 0.5."
            )
        self.compression = compression
        self.rate = rate
        self.transition = None

    def _filters(self, channels: int) -> int:
        return math.floor(self.compression * channels)

    def build(self, input_shape):
        if self.transition is not None:
            return
        check_images(self, input_shape)
        channels = input_shape[self.channel_axis]
        if self._filters(channels) < 1:
            raise ValueError(
                f"`compression` must leave at least one of {channels} "
                f"channels. Received: compression={self.compression}. Use a "
                "larger one."
            )
        layers = [
            *self.active_units(channels),
            self.conv_unit(self._filters(channels), 1),
            *self.dropout_units(self.rate),
            keras.layers.AveragePooling2D(
                2, data_format=self.data_format, dtype=self.dtype_policy
            ),
        ]
        self.transition = self.sequence(layers, "transition")
        self.transition.build(input_shape)

    def call(self, inputs, training=None):
        return self.transition(inputs, training=training)

    def compute_output_shape(self, input_shape):
        axis = self.channel_axis % 4
        return tuple(
            size
            if position == 0 or size is None
            else self._filters(size)
            if position == axis
            else size // 2
            for position, size in enumerate(input_shape)
        )

    def inner_parts(self) -> list:
        """The layers within, each with how often it is repeated."""
        return [(self.transition, 1)]

    def get_config(self):
        return {
            **super().get_config(),
            "compression": self.compression,
            "rate": self.rate,
        }
