"""The first capsules: groups of convolution channels."""

import keras
from keras import ops

from tfdeep.checks import check_images, check_positive
from tfdeep.layers.frozen_parts import KeepsFrozenParts
from tfdeep.layers.routing import squash


@keras.saving.register_keras_serializable(package="tfdeep")
class PrimaryCapsules(KeepsFrozenParts):
    """A convolution whose channels, in groups, are capsules.

    Use it between the first convolutions and `RoutingCapsules`. At each
    position, `channels / capsule_dim` groups of neighbouring channels become
    capsules and are squashed.

    Reference:
        Sabour et al., "Dynamic Routing Between Capsules", 2017, section 4.
        The code of "Momentum Capsule Networks", 2022, groups values that are
        neighbours in space, of one channel; here they are channels, as in
        the text.

    Args:
        channels: positive integer, a multiple of `capsule_dim`.
        capsule_dim: positive integer, the size of each capsule.
        kernel_size: positive integer.
        strides: positive integer.
        kernel_initializer: a Keras initializer.
        data_format: `"channels_last"`, `"channels_first"` or `None`.
        bias_initializer: a Keras initializer.
        **kwargs: `name`, `dtype` and further arguments of a Keras layer.

    Call arguments:
        inputs: tensor of images.

    Input shape:
        `(batch, height, width, channels)`.

    Output shape:
        `(batch, positions * channels / capsule_dim, capsule_dim)`, positions
        row by row.

    Raises:
        ValueError: if `channels` cannot be grouped so, or the input is no
            batch of images at least as large as the kernel.

    Example:
        >>> import numpy as np, tfdeep
        >>> layer = tfdeep.layers.PrimaryCapsules(256, 8)
        >>> tuple(layer(np.ones((2, 20, 20, 4))).shape)
        (2, 1152, 8)
    """

    def __init__(
        self,
        channels: int,
        capsule_dim: int,
        kernel_size: int = 9,
        strides: int = 2,
        kernel_initializer="glorot_uniform",
        data_format: str | None = None,
        bias_initializer="zeros",
        **kwargs,
    ):
        super().__init__(**kwargs)
        check_positive("channels", channels)
        check_positive("capsule_dim", capsule_dim)
        check_positive("kernel_size", kernel_size)
        check_positive("strides", strides)
        if channels % capsule_dim:
            raise ValueError(
                f"`channels` must be a multiple of capsule_dim={capsule_dim}, "
                "as channels are grouped into capsules of that size. "
                f"Received: channels={channels}"
            )
        self.channels = channels
        self.capsule_dim = capsule_dim
        self.kernel_size = kernel_size
        self.strides = strides
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.bias_initializer = keras.initializers.get(bias_initializer)
        self.data_format = data_format or keras.config.image_data_format()
        self.conv = keras.layers.Conv2D(
            channels,
            kernel_size,
            strides,
            kernel_initializer=self.kernel_initializer,
            bias_initializer=self.bias_initializer,
            data_format=self.data_format,
            dtype=self.dtype_policy,
            name="conv",
        )

    @property
    def channel_axis(self) -> int:
        """The axis of channels, 1 or -1."""
        return 1 if self.data_format == "channels_first" else -1

    def build(self, input_shape):
        if self.built:
            return
        check_images(self, input_shape)
        self._positions(input_shape)
        self.conv.build(input_shape)

    def call(self, inputs):
        x = self.conv(inputs)
        if self.channel_axis == 1:
            x = ops.transpose(x, (0, 2, 3, 1))
        # (batch, height, width, channels) -> (batch, capsules, capsule_dim)
        return squash(ops.reshape(x, (-1, *self._grouped(x.shape))))

    def _grouped(self, shape):
        _, height, width, _ = shape
        if height is None or width is None:
            return -1, self.capsule_dim
        groups = self.channels // self.capsule_dim
        return height * width * groups, self.capsule_dim

    def _positions(self, input_shape):
        """How many places the kernel has, `None` if it is not known."""
        rest = list(input_shape)
        rest.pop(self.channel_axis)
        sizes = rest[1:]
        if any(size is not None and size < self.kernel_size for size in sizes):
            raise ValueError(
                "The kernel of PrimaryCapsules must fit into the image. "
                f"Received: kernel_size={self.kernel_size} and images of "
                f"{sizes[0]}x{sizes[1]}. Use a smaller kernel or larger "
                "images."
            )
        if None in sizes:
            return None
        height, width = (
            (size - self.kernel_size) // self.strides + 1 for size in sizes
        )
        return height * width

    def compute_output_shape(self, input_shape):
        count = self._positions(input_shape)
        if count is not None:
            count *= self.channels // self.capsule_dim
        return (input_shape[0], count, self.capsule_dim)

    def inner_parts(self) -> list:
        """The layers within, each with how often it is repeated."""
        return [(self.conv, 1)]

    def get_config(self):
        return {
            **super().get_config(),
            "channels": self.channels,
            "capsule_dim": self.capsule_dim,
            "kernel_size": self.kernel_size,
            "strides": self.strides,
            "kernel_initializer": keras.initializers.serialize(
                self.kernel_initializer
            ),
            "data_format": self.data_format,
            "bias_initializer": keras.initializers.serialize(
                self.bias_initializer
            ),
        }
