"""Convolutions: a matrix between patches of the input and the output.

With the patches of an example as the rows of A, (positions, k k C), and its
output gradients as those of G, a kernel's gradient is A^T G. In a transposed
convolution input and output change places.
"""

import itertools
import math

from keras import ops

from tfdeep.privacy.per_example.gradients import Product
from tfdeep.privacy.per_example.rules import Rule, by_example, summed_to


class ConvolutionRule(Rule):
    """Rule of `keras.layers.Conv1D`, `Conv2D` and `Conv3D`, with groups."""

    def fits(self, args, kwargs):
        return super().fits(args, kwargs) and None not in args[0].shape[1:]

    def forward(self, tap, x):
        x = self.padded(self.cast(x))
        z = self.convolved(x, self.cast(self.layer.kernel))
        return self.finished(z, tap), [x]

    def padded(self, x):
        """The input, with zeros before its start if the layer is causal."""
        if self.layer.padding != "causal":
            return x
        reach = self.layer.dilation_rate[0] * (self.layer.kernel_size[0] - 1)
        widths = [[0, 0], [reach, 0], [0, 0]]
        if self.layer.data_format == "channels_first":
            widths = [widths[0], widths[2], widths[1]]
        return ops.pad(x, widths)

    @property
    def padding(self) -> str:
        """The padding that is left to the operation."""
        return "valid" if self.layer.padding == "causal" else self.layer.padding

    def convolved(self, x, kernel):
        if self.layer.padding != "causal":
            return self.layer.convolution_op(x, kernel)
        return ops.conv(
            x,
            kernel,
            strides=list(self.layer.strides),
            padding="valid",
            dilation_rate=self.layer.dilation_rate,
            data_format=self.layer.data_format,
        )

    def finished(self, z, tap):
        """Add the bias, mark, activate."""
        if self.layer.use_bias:
            shape = [1] * len(z.shape)
            shape[self.channel_axis(z)] = -1
            z = ops.add(z, ops.reshape(self.cast(self.layer.bias), shape))
        return self.activated(tap(z))

    def channel_axis(self, tensor) -> int:
        first = self.layer.data_format == "channels_first"
        return 1 if first else len(tensor.shape) - 1

    def channels_last(self, tensor):
        return ops.moveaxis(tensor, self.channel_axis(tensor), -1)

    def forms(self, kept, grads, views):
        (x,), (dz,) = (
            map(self.channels_last, kept),
            map(self.channels_last, grads),
        )
        layer = self.layer
        patches = patches_of(
            x,
            layer.kernel_size,
            layer.strides,
            layer.dilation_rate,
            self.padding,
            dz.shape[1:-1],
        )
        product = grouped_product(
            patches, dz, layer.groups, views, layer.kernel.shape
        )
        return [(layer.kernel, product), *self.bias_form(dz, views)]

    def bias_form(self, dz, views):
        if not self.layer.use_bias:
            return []
        middle = tuple(range(1, len(dz.shape) - 1))
        return [(self.layer.bias, summed_to(dz, views, middle))]


def grouped_product(patches, dz, groups: int, views: int, shape):
    """The form of a kernel (..., in / groups, out).

    Args:
        patches: (rows, positions, k k, in).
        dz: (rows, ..., out).
        groups: how many groups of channels there are.
        views: how many rows belong to one example.
        shape: that of the kernel.
    """
    _, positions, taps, channels = patches.shape
    out = dz.shape[-1] // groups
    inputs = patches
    if groups > 1:
        inputs = ops.reshape(
            patches, (-1, positions, taps, groups, channels // groups)
        )
        inputs = ops.transpose(inputs, (0, 1, 3, 2, 4))
    size = taps * channels // groups
    inputs = ops.reshape(inputs, (-1, positions, groups, size))
    outputs = ops.reshape(dz, (-1, positions, groups, out))

    def fold(product):
        lead = ops.shape(product)[:-3]
        product = ops.swapaxes(product, -3, -2)
        return ops.reshape(product, (*lead, *shape))

    return Product(by_example(inputs, views), by_example(outputs, views), fold)


def patches_of(x, size, strides, dilation, padding: str, positions):
    """What a convolution multiplies with its kernel, at each position.

    Args:
        x: (rows, ..., channels).
        size: of the kernel, one number per axis between the two.
        strides: of the convolution.
        dilation: of the kernel.
        padding: `"same"` or `"valid"`.
        positions: the sizes of the result along these axes.

    Returns:
        (rows, positions, k k, channels).
    """
    channels = x.shape[-1]
    reach = [
        (count - 1) * stride + (k - 1) * d + 1
        for count, stride, k, d in zip(
            positions, strides, size, dilation, strict=True
        )
    ]
    if padding == "same":
        missing = [
            max(end - n, 0) for end, n in zip(reach, x.shape[1:-1], strict=True)
        ]
        widths = [[each // 2, each - each // 2] for each in missing]
        if any(missing):
            x = ops.pad(x, [[0, 0], *widths, [0, 0]])
    found = []
    for offsets in itertools.product(*map(range, size)):
        index = tuple(
            slice(o * d, o * d + (count - 1) * stride + 1, stride)
            for o, d, count, stride in zip(
                offsets, dilation, positions, strides, strict=True
            )
        )
        found.append(x[(slice(None), *index)])
    patches = (
        found[0][..., None, :] if len(found) == 1 else ops.stack(found, axis=-2)
    )
    return ops.reshape(
        patches, (-1, math.prod(positions), len(found), channels)
    )


class DepthwiseRule(ConvolutionRule):
    """Rule of `keras.layers.DepthwiseConv1D` and `DepthwiseConv2D`."""

    def convolved(self, x, kernel):
        return ops.depthwise_conv(
            x,
            kernel,
            strides=self.layer.strides,
            padding=self.padding,
            dilation_rate=self.layer.dilation_rate,
            data_format=self.layer.data_format,
        )

    def forms(self, kept, grads, views):
        (x,), (dz,) = (
            map(self.channels_last, kept),
            map(self.channels_last, grads),
        )
        return [
            self.depthwise_form(x, dz, self.layer.kernel, views),
            *self.bias_form(dz, views),
        ]

    def depthwise_form(self, x, dz, kernel, views):
        layer = self.layer
        patches = patches_of(
            x,
            layer.kernel_size,
            layer.strides,
            layer.dilation_rate,
            self.padding,
            dz.shape[1:-1],
        )
        product = grouped_product(patches, dz, x.shape[-1], views, kernel.shape)
        return kernel, product


class SeparableRule(DepthwiseRule):
    """Rule of `keras.layers.SeparableConv1D` and `SeparableConv2D`."""

    def forward(self, tap, x):
        x = self.padded(self.cast(x))
        layer = self.layer
        between = tap(self.convolved(x, self.cast(layer.depthwise_kernel)))
        z = ops.conv(
            between,
            self.cast(layer.pointwise_kernel),
            padding="valid",
            data_format=layer.data_format,
        )
        return self.finished(z, tap), [x, between]

    def forms(self, kept, grads, views):
        x, between = map(self.channels_last, kept)
        d_between, dz = map(self.channels_last, grads)
        layer = self.layer
        ones = (1,) * (len(x.shape) - 2)
        patches = patches_of(between, ones, ones, ones, "valid", dz.shape[1:-1])
        pointwise = layer.pointwise_kernel
        return [
            self.depthwise_form(x, d_between, layer.depthwise_kernel, views),
            (
                pointwise,
                grouped_product(patches, dz, 1, views, pointwise.shape),
            ),
            *self.bias_form(dz, views),
        ]


class TransposedRule(ConvolutionRule):
    """Rule of `keras.layers.Conv1DTranspose` to `Conv3DTranspose`."""

    def fits(self, args, kwargs):
        plain = self.layer.output_padding is None and all(
            each == 1 for each in self.layer.dilation_rate
        )
        return plain and super().fits(args, kwargs)

    def convolved(self, x, kernel):
        layer = self.layer
        return ops.conv_transpose(
            x,
            kernel,
            strides=list(layer.strides),
            padding=layer.padding,
            output_padding=layer.output_padding,
            dilation_rate=layer.dilation_rate,
            data_format=layer.data_format,
        )

    def forms(self, kept, grads, views):
        (x,), (dz,) = (
            map(self.channels_last, kept),
            map(self.channels_last, grads),
        )
        layer = self.layer
        patches = patches_of(
            dz,
            layer.kernel_size,
            layer.strides,
            layer.dilation_rate,
            layer.padding,
            x.shape[1:-1],
        )
        product = grouped_product(patches, x, 1, views, layer.kernel.shape)
        return [(layer.kernel, product), *self.bias_form(dz, views)]
