"""The gradients of the examples of a batch, each in memory as it is."""

from keras import ops


def square_sums(tensor):
    """The sum of squares within each example, in float32 or better."""
    wide = widened(tensor)
    return ops.sum(ops.square(ops.reshape(wide, (ops.shape(wide)[0], -1))), -1)


def widened(tensor):
    """Half precision as float32: sums of many squares need it."""
    half = str(tensor.dtype).endswith(("bfloat16", "float16"))
    return ops.cast(tensor, "float32") if half else tensor


def per_row(values, tensor):
    """Values (batch,), shaped to be multiplied with (batch, ...)."""
    return ops.reshape(values, (-1, *(1,) * (len(tensor.shape) - 1)))


class Materialised:
    """Gradients of shape (batch, *shape), one tensor per weight."""

    def __init__(self, tensors: list):
        self.tensors = tensors

    def square_norms(self) -> list:
        """|g_i|^2 per weight, each (batch,)."""
        return [square_sums(each) for each in self.tensors]

    def weighted_sums(self, factors: list, finite) -> list:
        """sum_i c_i g_i per weight, without what is not finite."""
        return [
            ops.einsum(
                "n,n...->...",
                ops.cast(factor, wide.dtype),
                ops.where(per_row(finite, wide), wide, 0.0),
            )
            for factor, wide in zip(
                factors, map(widened, self.tensors), strict=True
            )
        ]

    def records(self, finite) -> list:
        """The gradients, zero where an example is not finite."""
        return [
            ops.where(per_row(finite, wide), wide, 0.0)
            for wide in map(widened, self.tensors)
        ]
