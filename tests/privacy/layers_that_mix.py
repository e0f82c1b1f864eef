"""Layers that let examples act on each other, or keep something of them."""

from keras import layers, ops


class Keeps(layers.Layer):
    """Keeps a sum over the batch."""

    def build(self, shape):
        self.seen = self.add_weight(
            shape=(shape[-1],),
            initializer="zeros",
            trainable=False,
            name="seen",
        )

    def call(self, x):
        self.seen.assign(self.seen + ops.mean(x, axis=0))
        return x


class Adds(layers.Layer):
    """Adds a loss over the batch."""

    def call(self, x):
        self.add_loss(ops.sum(x))
        return x


class Mixes(layers.Layer):
    """Subtracts the mean of the batch."""

    def call(self, x):
        return x - ops.mean(x, axis=0, keepdims=True)


class Centers(Mixes):
    """With a weight of its own."""

    def build(self, shape):
        self.scale = self.add_weight(shape=(shape[-1],), initializer="ones")

    def call(self, x):
        return super().call(x * self.scale)
