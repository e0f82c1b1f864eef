"""Slow, obvious forms of the blocks, in plain operations.

They take the weights in the order in which the paper's figure has them.
"""

from keras import ops

EPSILON = 1e-5


def batch_norm(x, gamma, beta, axes=(0, 1, 2)):
    """Normalization by the statistics of the batch."""
    mean = ops.mean(x, axes, keepdims=True)
    variance = ops.mean(ops.square(x - mean), axes, keepdims=True)
    return gamma * (x - mean) / ops.sqrt(variance + EPSILON) + beta


def frozen_norm(x, gamma, beta, mean, variance):
    """Normalization by the moving statistics."""
    return gamma * (x - mean) / ops.sqrt(variance + EPSILON) + beta


def group_norm(x, gamma, beta, groups):
    """Normalization over the pixels and channels of each group."""
    batch, height, width, channels = x.shape
    x = ops.reshape(x, (batch, height, width, groups, channels // groups))
    mean = ops.mean(x, (1, 2, 4), keepdims=True)
    variance = ops.mean(ops.square(x - mean), (1, 2, 4), keepdims=True)
    x = (x - mean) / ops.sqrt(variance + EPSILON)
    return ops.reshape(x, (batch, height, width, channels)) * gamma + beta


def conv(x, kernel, strides=1, bias=0.0, groups=1):
    """A "same" convolution, group by group."""
    size, width = x.shape[-1] // groups, kernel.shape[-1] // groups
    parts = [
        ops.conv(
            x[..., i * size : (i + 1) * size],
            kernel[..., i * width : (i + 1) * width],
            strides=strides,
            padding="same",
            data_format="channels_last",
        )
        for i in range(groups)
    ]
    return ops.concatenate(parts, -1) + bias


def relu(x):
    return ops.maximum(x, 0.0)


def pad_channels(x, filters, strides):
    """Option A."""
    x = x[:, ::strides, ::strides]
    zeros = ops.zeros((*x.shape[:3], filters - x.shape[3]))
    return ops.concatenate([x, zeros], -1)
