"""Dense layers: a matrix between the last axes."""

from keras import ops

from tfdeep.privacy.per_example.gradients import Product
from tfdeep.privacy.per_example.rules import Rule, by_example, summed_to


class DenseRule(Rule):
    """Rule of `keras.layers.Dense`: |g|^2 = |a|^2 |dy|^2 at one position."""

    def forward(self, tap, x):
        x = self.cast(x)
        z = ops.matmul(x, self.cast(self.layer.kernel))
        if self.layer.use_bias:
            z = ops.add(z, self.cast(self.layer.bias))
        return self.activated(tap(z)), [x]

    def forms(self, kept, grads, views):
        (x,), (dz,) = kept, grads
        found = [
            (
                self.layer.kernel,
                Product(
                    [by_example(_with_positions(x), views)],
                    by_example(_with_positions(dz), views),
                    lambda product: product[..., 0, :, :],
                ),
            )
        ]
        if self.layer.use_bias:
            middle = tuple(range(1, len(dz.shape) - 1))
            found.append((self.layer.bias, summed_to(dz, views, middle)))
        return found


def _with_positions(tensor):
    """(rows, ..., size) -> (rows, positions, 1, size)."""
    size = tensor.shape[-1]
    middle = tensor.shape[1:-1]
    if None in middle:
        return ops.reshape(tensor, (ops.shape(tensor)[0], -1, 1, size))
    count = 1
    for each in middle:
        count *= each
    return ops.reshape(tensor, (-1, count, 1, size))
