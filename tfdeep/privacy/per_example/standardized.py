"""Convolutions with a standardised kernel: back to the weights behind it.

K = gain c / sqrt(t),   c = w - mean(w),   t = max(sum c^2, epsilon)

With g = dL/dK of an example, sums over all axes but the filters':

    dgain = sum g c / sqrt(t)
    dc    = gain (g / sqrt(t) - [sum c^2 > epsilon] c sum(g c) / t^(3/2))
    dw    = dc - mean(dc)
"""

from keras import ops

from tfdeep.privacy.per_example.convolution import ConvolutionRule
from tfdeep.privacy.per_example.gradients import Instances, widened


class StandardizedConvolutionRule(ConvolutionRule):
    """Rule of `tfdeep.layers.WeightStandardizedConv2D`."""

    def forms(self, kept, grads, views):
        (_, form), *others = super().forms(kept, grads, views)
        dw, dgain = behind(
            widened(form.records_of_all()),
            widened(self.cast(self.layer.kernel)),
            widened(self.cast(self.layer.gain)),
            self.layer.epsilon,
        )
        weights = (self.layer.kernel, Instances(dw))
        return [weights, *others, (self.layer.gain, Instances(dgain))]


def behind(g, kernel, gain, epsilon: float):
    """Gradients of examples by kernel and gain.

    Args:
        g: (batch, *kernel), those by the standardised kernel.
        kernel: (..., filters), before it is standardised.
        gain: (filters,).
        epsilon: float, the least of the sum of squares.
    """
    axes = tuple(range(len(kernel.shape) - 1))
    inner = tuple(axis + 1 for axis in axes)
    c = kernel - ops.mean(kernel, axes, keepdims=True)
    total = ops.sum(ops.square(c), axes, keepdims=True)
    free = ops.cast(total > epsilon, c.dtype)
    scale = ops.rsqrt(ops.maximum(total, epsilon))
    along = ops.sum(g * c, inner, keepdims=True)
    dc = gain * (g * scale - free * c * along * scale**3)
    dw = dc - ops.mean(dc, inner, keepdims=True)
    return dw, ops.reshape(along * scale, (-1, kernel.shape[-1]))
