"""Embedding: rows of a table, of which each example uses a few."""

import math

import keras
from keras import ops

from tfdeep.privacy.per_example.gradients import Lookup
from tfdeep.privacy.per_example.rules import Rule, by_example


class EmbeddingRule(Rule):
    """Rule of `keras.layers.Embedding`."""

    def forward(self, tap, x):
        if keras.backend.standardize_dtype(x.dtype) not in ("int32", "int64"):
            x = ops.cast(x, "int32")
        outputs = ops.take(self.layer.embeddings, x, axis=0)
        return tap(self.cast(outputs)), [x]

    def forms(self, kept, grads, views):
        (x,), (dy,) = kept, grads
        table = self.layer.embeddings
        positions = math.prod(x.shape[1:]) if None not in x.shape[1:] else -1
        count = ops.shape(x)[0]
        rows = ops.reshape(x, (count, positions))
        dy = ops.reshape(dy, (count, positions, table.shape[1]))
        return [
            (
                table,
                Lookup(
                    by_example(rows, views),
                    by_example(dy, views),
                    table.shape[0],
                ),
            )
        ]
