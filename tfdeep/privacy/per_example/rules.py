"""How a layer's gradients per example are had from what passes through it.

A rule runs a layer, marks the tensor whose gradient it needs, and later turns
what went in and what came back into a form of `gradients` for each weight.
"""

from keras import ops

from tfdeep.privacy.per_example.gradients import Instances, widened


class Rule:
    """Base of the rules: one object per call of a layer.

    Args:
        layer: a built Keras layer.

    Attributes:
        runs_alone: whether `forward` computes by itself, from the one input,
            and does not call the layer.
    """

    runs_alone = True

    def __init__(self, layer):
        self.layer = layer

    def fits(self, args: tuple, kwargs: dict) -> bool:
        """Whether the rule holds for a call with such symbolic arguments."""
        return len(args) == 1 and not set(kwargs) - {"training"}

    def forward(self, tap, x):
        """Run the layer.

        Args:
            tap: marks a tensor, to be used in its place from then on.
            x: the layer's input.

        Returns:
            `(outputs, kept)`: a list of tensors to be kept.
        """
        raise NotImplementedError

    def forms(self, kept: list, grads: list, views: int) -> list:
        """Pairs of a variable and a form of its gradient.

        Args:
            kept: what `forward` kept.
            grads: gradients by the marked tensors, in order.
            views: how many rows in turn belong to one example.
        """
        raise NotImplementedError

    def cast(self, value):
        """A tensor or variable in the layer's compute dtype."""
        return ops.cast(value, self.layer.compute_dtype)

    def activated(self, outputs):
        """The layer's activation, if it has one."""
        activation = getattr(self.layer, "activation", None)
        return outputs if activation is None else activation(outputs)


def by_example(tensor, views: int):
    """(rows, positions, ...) -> (examples, views * positions, ...)."""
    if views == 1:
        return tensor
    shape = ops.shape(tensor)
    return ops.reshape(
        tensor, (shape[0] // views, views * shape[1], *tensor.shape[2:])
    )


def summed_to(grads, views: int, axes: tuple[int, ...]):
    """Instances of a gradient, summed over views and over some axes."""
    total = ops.sum(widened(grads), axis=axes) if axes else widened(grads)
    if views > 1:
        total = ops.sum(
            ops.reshape(total, (-1, views, *total.shape[1:])), axis=1
        )
    return Instances(total)
