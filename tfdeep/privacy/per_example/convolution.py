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
        form = kernel_form(
            x, dz, self.geometry, layer.groups, views, layer.kernel.shape
        )
        return [(layer.kernel, form), *self.bias_form(dz, views)]

    @property
    def geometry(self) -> tuple:
        """Size, strides, dilation and padding, as `unfolded` takes them."""
        layer = self.layer
        return (
            layer.kernel_size,
            layer.strides,
            layer.dilation_rate,
            self.padding,
        )

    def bias_form(self, dz, views):
        if not self.layer.use_bias:
            return []
        middle = tuple(range(1, len(dz.shape) - 1))
        return [(self.layer.bias, summed_to(dz, views, middle))]


def kernel_form(x, dz, geometry, groups: int, views: int, shape):
    """The form of the gradient of a kernel (..., in / groups, out).

    Args:
        x: (rows, ..., in).
        dz: (rows, ..., out).
        geometry: size, strides, dilation and padding of the convolution.
        groups: how many groups of channels there are.
        views: how many rows belong to one example.
        shape: that of the kernel.
    """
    pieces, dz = unfolded(x, dz, *geometry)
    positions, channels = pieces[0].shape[1:]
    inputs = [
        by_example(
            ops.reshape(each, (-1, positions, groups, channels // groups)),
            views,
        )
        for each in pieces
    ]
    outputs = ops.reshape(dz, (-1, positions, groups, dz.shape[-1] // groups))

    def fold(product):
        lead = ops.shape(product)[:-3]
        product = ops.swapaxes(product, -3, -2)
        return ops.reshape(product, (*lead, *shape))

    return Product(inputs, by_example(outputs, views), fold)


def unfolded(x, dz, size, strides, dilation, padding: str):
    """What a convolution multiplies at each position, beside its gradient.

    Slices with steps are slow, and so are many short ones. A stride is first
    made an axis of its own; then all positions are in one line, as wide as
    the padded input: what lies under one entry of the kernel is one piece of
    that line. Positions beyond the edge get a gradient of 0.

    Args:
        x: (rows, ..., in).
        dz: (rows, ..., out).
        size: of the kernel, one number per axis between the two.
        strides: of the convolution.
        dilation: of the kernel.
        padding: `"same"` or `"valid"`.

    Returns:
        A list of (rows, positions, in), one for each entry of the kernel, and
        (rows, positions, out).
    """
    counts = dz.shape[1:-1]
    lines = [
        count + (k - 1) * d // stride
        for count, k, d, stride in zip(
            counts, size, dilation, strides, strict=True
        )
    ]
    lines[0] += len(lines) > 1  # The last pieces reach into one more line.
    phases = _phases(x, counts, lines, size, strides, dilation, padding)
    rows_of_line = [math.prod(lines[axis + 1 :]) for axis in range(len(lines))]
    length = counts[0] * rows_of_line[0]
    found = []
    for entry in itertools.product(*map(range, size)):
        offsets = [o * d for o, d in zip(entry, dilation, strict=True)]
        phase = tuple(o % s for o, s in zip(offsets, strides, strict=True))
        start = sum(
            o // s * rows
            for o, s, rows in zip(offsets, strides, rows_of_line, strict=True)
        )
        found.append(phases(phase)[:, start : start + length])
    widths = [[0, n - c] for n, c in zip(lines[1:], counts[1:], strict=True)]
    if any(more for _, more in widths):
        dz = ops.pad(dz, [[0, 0], [0, 0], *widths, [0, 0]])
    return found, ops.reshape(dz, (-1, length, dz.shape[-1]))


def _phases(x, counts, lines, size, strides, dilation, padding):
    """A function of a phase: every so-many-th entry of the padded input.

    Its value is (rows, positions, in), for a tuple with a number below the
    stride for each axis.
    """
    widths, ends = [], []
    for n, count, line, k, d, stride in zip(
        x.shape[1:-1], counts, lines, size, dilation, strides, strict=True
    ):
        reach = (count - 1) * stride + (k - 1) * d + 1
        before = max(reach - n, 0) // 2 if padding == "same" else 0
        widths.append([before, max(line * stride - n - before, 0)])
        ends.append(slice(0, line * stride))
    if any(sum(each) for each in widths):
        x = ops.pad(x, [[0, 0], *widths, [0, 0]])
    x = x[(slice(None), *ends)]
    shape = (-1, math.prod(lines), x.shape[-1])
    if all(stride == 1 for stride in strides):
        whole = ops.reshape(x, shape)
        return lambda phase: whole
    split = [each for pair in zip(lines, strides, strict=True) for each in pair]
    x = ops.reshape(x, (-1, *split, x.shape[-1]))
    rank = len(lines)
    order = [2 * axis + 2 for axis in range(rank)]
    rest = [2 * axis + 1 for axis in range(rank)]
    x = ops.transpose(x, (*order, 0, *rest, 2 * rank + 1))
    return lambda phase: ops.reshape(x[phase], shape)


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
        form = kernel_form(
            x, dz, self.geometry, x.shape[-1], views, kernel.shape
        )
        return kernel, form


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
        pointwise = layer.pointwise_kernel
        ones = (1,) * (len(x.shape) - 2)
        form = kernel_form(
            between, dz, (ones, ones, ones, "valid"), 1, views, pointwise.shape
        )
        return [
            self.depthwise_form(x, d_between, layer.depthwise_kernel, views),
            (pointwise, form),
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
        kernel = self.layer.kernel
        form = kernel_form(dz, x, self.geometry, 1, views, kernel.shape)
        return [(kernel, form), *self.bias_form(dz, views)]
