"""The running mean of a vector of entropies, one per layer."""

import keras
from keras import ops


class EntropyMeans(keras.metrics.Metric):
    """Means over batches of the entropies of layers; their mean is logged.

    A batch counts by its `sample_weight`, a scalar.

    One vector for all layers: a metric of its own for each of 500 layers
    would cost as much as the layers.

    Args:
        names: the names of the layers.
        **kwargs: `name` and `dtype`.

    Example:
        >>> import numpy as np
        >>> means = EntropyMeans(["first", "second"], name="batch_entropy")
        >>> means.update_state(np.array([1.0, 0.0]))
        >>> means.update_state(np.array([2.0, 0.0]))
        >>> float(means.result()), means.by_layer()
        (0.75, {'first': 1.5, 'second': 0.0})
    """

    def __init__(self, names: list[str], **kwargs):
        super().__init__(**kwargs)
        self.layers = tuple(names)
        self.total = self.add_variable(
            (len(names),), initializer="zeros", name="total"
        )
        self.count = self.add_variable((), initializer="zeros", name="count")

    def update_state(self, entropies, sample_weight=None):
        weight = 1.0 if sample_weight is None else sample_weight
        weight = ops.cast(weight, self.dtype)
        self.total.assign_add(weight * ops.cast(entropies, self.dtype))
        self.count.assign_add(weight)

    def result(self):
        return ops.mean(self._means())

    def by_layer(self) -> dict[str, float]:
        """The mean of each layer, by its name."""
        means = ops.convert_to_numpy(self._means()).tolist()
        return dict(zip(self.layers, means, strict=True))

    def _means(self):
        return self.total / ops.maximum(self.count, 1)
