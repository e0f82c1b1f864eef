"""Normalisation within an example: gain and bias beside what is normal.

y = xhat * gain + bias,    dgain = sum dy xhat,    dbias = sum dy
"""

from keras import ops

from tfdeep.privacy.per_example.gradients import widened
from tfdeep.privacy.per_example.rules import Rule, summed_to


class ScaleRule(Rule):
    """Base of the rules of layers that scale and shift what is normal."""

    def normal(self, x):
        """The input, normalised, neither scaled nor shifted."""
        raise NotImplementedError

    def axes(self, rank: int) -> list[int]:
        """The axes that the weights belong to."""
        axis = self.layer.axis
        axes = list(axis) if isinstance(axis, (list, tuple)) else [axis]
        return sorted(each % rank for each in axes)

    def weights(self) -> tuple:
        """Gain and bias; `None` where there is none."""
        return self.layer.gamma, self.layer.beta

    def forward(self, tap, x):
        x = self.cast(x)
        xhat = y = self.normal(widened(x))
        gain, bias = (
            None if each is None else self._spread(each, x)
            for each in self.weights()
        )
        y = y if gain is None else y * gain
        y = y if bias is None else y + bias
        return tap(self.cast(y)), [xhat]

    def _spread(self, weight, x):
        axes = self.axes(len(x.shape))
        shape = [
            x.shape[axis] if axis in axes else 1 for axis in range(len(x.shape))
        ]
        return ops.reshape(ops.cast(weight, widened(x).dtype), shape)

    def forms(self, kept, grads, views):
        (xhat,), (dy,) = kept, grads
        dy = widened(dy)
        kept_axes = self.axes(len(dy.shape))
        axes = tuple(
            axis for axis in range(1, len(dy.shape)) if axis not in kept_axes
        )
        gain, bias = self.weights()
        found = []
        if gain is not None:
            found.append((gain, summed_to(dy * xhat, views, axes)))
        if bias is not None:
            found.append((bias, summed_to(dy, views, axes)))
        return found


def standardized(x, axes, epsilon):
    """(x - mean) / sqrt(variance + epsilon)."""
    mean, variance = ops.moments(x, axes=axes, keepdims=True)
    inverse = ops.rsqrt(variance + epsilon)
    return x * inverse - mean * inverse


class LayerNormalizationRule(ScaleRule):
    """Rule of `keras.layers.LayerNormalization`."""

    def normal(self, x):
        return standardized(x, self.axes(len(x.shape)), self.layer.epsilon)


class GroupNormalizationRule(ScaleRule):
    """Rule of `keras.layers.GroupNormalization`."""

    def fits(self, args, kwargs):
        return super().fits(args, kwargs) and None not in args[0].shape[1:]

    def normal(self, x):
        (axis,) = self.axes(len(x.shape))
        shape = [-1, *x.shape[1:]]
        groups = self.layer.groups
        shape[axis : axis + 1] = [groups, x.shape[axis] // groups]
        axes = [each for each in range(1, len(shape)) if each != axis]
        parts = ops.reshape(x, shape)
        normal = standardized(parts, axes, self.layer.epsilon)
        return ops.reshape(normal, (-1, *x.shape[1:]))


class RMSNormalizationRule(ScaleRule):
    """Rule of `keras.layers.RMSNormalization`."""

    def weights(self):
        return self.layer.scale, None

    def normal(self, x):
        axes = self.axes(len(x.shape))
        square = ops.mean(ops.square(x), axis=axes, keepdims=True)
        return x * ops.rsqrt(square + self.layer.epsilon)
