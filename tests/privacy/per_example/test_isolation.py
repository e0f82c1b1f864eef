"""What may mix examples sees one at a time; what does not, stays fast."""

import keras
import pytest
from keras import layers, ops

from tests.helpers import close
from tests.privacy.layers_that_mix import Centers, Mixes


def graph(function):
    """A nested model that applies an operation."""
    x = keras.Input((6,))
    return keras.Model(x, function(x))


UNKNOWN = {
    "layer": Mixes,
    "layer with weights": Centers,
    "function": lambda: layers.Lambda(Mixes().call),
    "activation": lambda: layers.Dense(6, Mixes().call),
    "mean": lambda: graph(lambda x: x - ops.mean(x, axis=0, keepdims=True)),
    "order": lambda: graph(lambda x: x + ops.flip(x, axis=0)),
    "sums": lambda: graph(lambda x: x * ops.cumsum(x, axis=-2)),
    "product": lambda: graph(
        lambda x: ops.matmul(ops.matmul(x, ops.transpose(x)), x)
    ),
    "rows": lambda: graph(lambda x: x + ops.einsum("bi,ci->bi", x, x)),
}
KNOWN = {
    "relu": ops.relu,
    "difference": lambda x: x - ops.mean(x, axis=1, keepdims=True),
    "softmax": lambda x: x * ops.softmax(x),
    "shape": lambda x: ops.reshape(ops.reshape(x, (-1, 2, 3)), (-1, 6)),
    "parts": lambda x: ops.concatenate([x[:, 3:], x[:, :3]], axis=-1),
}


def compare(private, made, data):
    """Assert that sums are those of examples alone; return how they are."""
    model = private(made)
    batch = [each[:5] for each in data]
    alone = private(made, method="loop")
    close(model.clipped_sum(*batch), alone.clipped_sum(*batch))
    return model.describe_clipping()


@pytest.mark.parametrize("kind", UNKNOWN)
def test_what_may_mix_examples_sees_one_at_a_time(kind, private, data):
    assert "the whole model" in compare(private, UNKNOWN[kind](), data)


@pytest.mark.parametrize("kind", KNOWN)
def test_operations_within_an_example_keep_the_fast_way(kind, private, data):
    ways = compare(private, graph(KNOWN[kind]), data)
    assert "book-keeping" in ways and "whole model" not in ways
