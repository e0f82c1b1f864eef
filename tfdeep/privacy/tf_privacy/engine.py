"""`method="tf_privacy"`: sums by TF Privacy's own gradient code.

For comparison with the native engine, which gives the same faster. Norms are
those of the native engine, for the logs and to leave out what is not finite;
what is clipped, and by how much, TF Privacy's code computes by itself.
"""

import tensorflow as tf
from keras import ops, tree

from tfdeep.privacy.per_example.batch import Batch
from tfdeep.privacy.per_example.loss import filled, losses_of_rows
from tfdeep.privacy.per_example.purity import pure_call

CHUNK = 4  # The cheapest, as measured; the time of a chunk is quadratic.


class TfPrivacyEngine:
    """Differentiates by the optimizer that the private model has.

    Args:
        inner: the engine that knows the norms.
        model: the built model to differentiate.
        owner: the compiled private model.
    """

    def __init__(self, inner, model, owner):
        self.inner = inner
        self.model = model
        self.owner = owner
        self.seeds = inner.seeds

    def describe(self) -> str:
        """How the gradients are had, in a few lines."""
        line = f"{self.model.name}: TF Privacy's code, {CHUNK} at a time"
        return f"{line}; norms: {self.inner.describe()}"

    def run(self, trainable, state, x, y, weight, views: int = 1) -> Batch:
        """Differentiate the loss of each example; see `Vectorized.run`."""
        optimizer = self.owner.optimizer
        if not hasattr(optimizer, "clipped_sum"):
            raise ValueError(
                "`method` must not be 'tf_privacy' with such an optimizer: it "
                "is the gradient code of TF Privacy's optimizers. Received: "
                f"{type(optimizer).__name__}. Compile with one of them, or use "
                "method='auto'."
            )
        batch = self.inner.run(trainable, state, x, y, weight, views)
        parts = (tree.map_structure(lambda t: _by_view(t, views), x), y, weight)

        def clipped(kept):
            return self._clipped(optimizer, trainable, state, parts, kept)

        return batch._replace(gradients=Literal(batch.gradients, clipped))

    def _clipped(self, optimizer, trainable, state, parts, kept):
        """TF Privacy's sum over the examples that are kept."""
        leaves = [each for each in tree.flatten(parts) if each is not None]
        # The others give way to a copy of the first that is kept, unweighted.
        rows = tf.range(tf.shape(kept)[0])
        first = tf.argmax(tf.cast(kept, "int32"), output_type="int32")
        source = tf.where(kept, rows, first)
        arrays = [tf.gather(each, source) for each in leaves]

        def losses(arrays):
            *arrays, shown = arrays
            x, y, weight = filled(parts, arrays)
            found = self._losses(trainable, state, x, y, weight)
            return found * tf.cast(shown, found.dtype)

        shown = tf.cast(kept, "float32")
        sums, _ = optimizer.clipped_sum(
            losses, [*arrays, shown], trainable, CHUNK
        )
        some = tf.reduce_any(kept)
        return [tf.where(some, each, tf.zeros_like(each)) for each in sums]

    def _losses(self, trainable, state, x, y, weight):
        """The loss of each example of a chunk, the mean over its views."""
        views = tree.flatten(x)[0].shape[1]
        x = tree.map_structure(lambda t: ops.reshape(t, (-1, *t.shape[2:])), x)
        with pure_call(self.model, trainable, state, self.seeds):
            y_pred = self.model(x, training=True)
        split = tree.map_structure(lambda t: _by_view(t, views), y_pred)
        found = [
            losses_of_rows(
                self.owner,
                y,
                tree.map_structure(lambda t, k=k: t[:, k], split),
                weight,
            )
            for k in range(views)
        ]
        return sum(found) / views


class Literal:
    """Norms of one engine and sums of another.

    Args:
        gradients: those of the engine that knows the norms.
        clipped: function of `kept` that returns the clipped sums.
    """

    def __init__(self, gradients, clipped):
        self.gradients = gradients
        self.clipped = clipped

    def square_norms(self):
        return self.gradients.square_norms()

    def records(self, kept):
        return self.gradients.records(kept)

    def reaches(self):
        return []  # The clip is part of the sum.

    def weighted_sums(self, factors, kept):
        return self.clipped(kept)


def _by_view(tensor, views):
    """(rows, ...) -> (examples, views, ...)."""
    return ops.reshape(tensor, (-1, views, *tensor.shape[1:]))
