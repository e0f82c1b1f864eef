"""Convolution whose kernel has mean 0 and a norm of its own, per filter."""

import keras
from keras import ops

from tfdeep.checks import check_number


def standardize(kernel, gain, epsilon: float):
    """Filters of mean 0 and norm `gain`:

    gain (w - mean(w)) / sqrt(max(fan_in var(w), epsilon))

    with mean and variance over all axes but the last, which is the filters'.
    """
    axes = tuple(range(len(kernel.shape) - 1))
    fan_in = 1
    for axis in axes:
        fan_in *= kernel.shape[axis]
    centred = kernel - ops.mean(kernel, axes, keepdims=True)
    total = fan_in * ops.mean(ops.square(centred), axes, keepdims=True)
    return centred * (gain * ops.rsqrt(ops.maximum(total, epsilon)))


@keras.saving.register_keras_serializable(package="tfdeep")
class WeightStandardizedConv2D(keras.layers.Conv2D):
    """`keras.layers.Conv2D` with a standardised kernel and a gain per filter.

    Use it where batch normalization is not allowed, as in private training,
    beside a normalization of each sample alone. What is convolved with is

        gain (w - mean(w)) / sqrt(max(fan_in var(w), epsilon))

    where mean and variance run over height, width and input channels. With
    the initial gain of 1 every filter has the norm 1, however large `w` is.

    Reference:
        Qiao et al., "Micro-Batch Training with Batch-Channel Normalization
        and Weight Standardization", 2019; in the form of Brock et al.,
        "Characterizing Signal Propagation to Close the Performance Gap in
        Unnormalized ResNets", 2021, and De et al., "Unlocking High-Accuracy
        Differentially Private Image Classification through Scale", 2022:
        scaled by the fan-in, with a gain and `epsilon=1e-4` under a maximum.

    Args:
        filters: integer, the number of output channels.
        kernel_size: integer or pair of integers.
        strides: integer or pair of integers. Defaults to `(1, 1)`.
        epsilon: float of at least 0, the least of fan-in times variance.
            Defaults to 1e-4.
        kernel_initializer: of `w`. Defaults to a normal law of variance
            `1 / fan_in`.
        **kwargs: the other arguments of `keras.layers.Conv2D`.

    Input shape:
        `(batch, height, width, channels)`.

    Output shape:
        `(batch, new_height, new_width, filters)`.

    Raises:
        ValueError: if `epsilon` is no number from 0.

    Example:
        >>> import numpy as np, tfdeep
        >>> layer = tfdeep.layers.WeightStandardizedConv2D(8, 3)
        >>> tuple(layer(np.ones((1, 5, 5, 4))).shape)
        (1, 3, 3, 8)
        >>> [weight.name for weight in layer.weights]
        ['kernel', 'bias', 'gain']
    """

    def __init__(
        self,
        filters: int,
        kernel_size,
        strides=(1, 1),
        *,
        epsilon: float = 1e-4,
        kernel_initializer=None,
        **kwargs,
    ):
        if kernel_initializer is None:
            kernel_initializer = keras.initializers.VarianceScaling(
                1.0, "fan_in", "untruncated_normal"
            )
        super().__init__(
            filters,
            kernel_size,
            strides,
            kernel_initializer=kernel_initializer,
            **kwargs,
        )
        check_number("epsilon", epsilon, 0)
        self.epsilon = epsilon

    def build(self, input_shape):
        super().build(input_shape)
        self.gain = self.add_weight(
            name="gain", shape=(self.filters,), initializer="ones"
        )

    def convolution_op(self, inputs, kernel):
        wide = keras.backend.result_type(kernel.dtype, "float32")
        kernel = standardize(
            ops.cast(kernel, wide), ops.cast(self.gain, wide), self.epsilon
        )
        return super().convolution_op(inputs, ops.cast(kernel, inputs.dtype))

    # Keras' convolutions save a kernel and a bias, and nothing else.
    def save_own_variables(self, store):
        keras.layers.Layer.save_own_variables(self, store)

    def load_own_variables(self, store):
        keras.layers.Layer.load_own_variables(self, store)

    def get_config(self):
        return {**super().get_config(), "epsilon": self.epsilon}
