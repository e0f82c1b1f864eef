"""Slopes of negative inputs.

y = x where x > 0, a x elsewhere,    da = sum of dy x where x <= 0
"""

from keras import ops

from tfdeep.privacy.per_example.gradients import widened
from tfdeep.privacy.per_example.rules import Rule, summed_to


class SlopesRule(Rule):
    """Rule of `tfdeep.layers.SparsePReLU`: of linear units there is none."""

    def forward(self, tap, x):
        x = self.cast(x)
        return tap(self.layer.call(x)), [x]

    def forms(self, kept, grads, views):
        (x,), (dy,) = kept, grads
        slopes = self.layer.slopes
        terms = ops.where(x > 0, ops.zeros_like(x), x * dy)
        shared = tuple(
            axis for axis, size in enumerate(slopes.shape, 1) if size == 1
        )
        free = ops.expand_dims(self.layer.free_units(), 0)
        terms = ops.sum(widened(terms), axis=shared, keepdims=True)
        terms = ops.where(free, terms, ops.zeros_like(terms))
        return [(slopes, summed_to(terms, views, ()))]
