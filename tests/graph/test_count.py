"""What each kind of layer and operation counts, worked out by hand."""

import keras
import numpy as np
import pytest
from keras import ops

from tests.contract.cases import is_variant, layer_names
from tests.contract.harness import model_of
from tfdeep.graph.count import COUNTS
from tfdeep.layers import (
    DenseBlock,
    Recompute,
    Repeat,
    ReversibleCapsule,
    ReversibleStack,
    RoutingCapsules,
)
from tfdeep.models import count, multiply_adds


def sequential(*layers, shape):
    return keras.Sequential([keras.Input(shape), *layers])


def along(*layers, shape=(7, 16), **kwargs):
    """The count of layers in a row."""
    return multiply_adds(sequential(*layers, shape=shape, **kwargs))


L = keras.layers
# T = 7 steps or positions of 16 values.
MORE = {
    "depthwise": (lambda: L.DepthwiseConv2D(3, depth_multiplier=2), 24 * 9 * 8),
    "separable": (
        lambda: L.SeparableConv2D(5, 3, depth_multiplier=2),
        24 * (9 * 8 + 8 * 5),
    ),
    "transposed": (lambda: L.Conv2DTranspose(5, 3, 2), 48 * 4 * 9 * 5),
}
SEQUENCES = {
    "Dense at positions": (lambda: L.Dense(3), 7 * 16 * 3),
    "Conv1D": (lambda: L.Conv1D(3, 5, padding="same"), 7 * 5 * 16 * 3),
    "Conv1D causal": (
        lambda: L.Conv1D(3, 5, padding="causal", dilation_rate=2),
        7 * 5 * 16 * 3,
    ),
    "EinsumDense": (
        lambda: L.EinsumDense("abc,cde->abde", (None, 2, 5)),
        7 * 16 * 10,
    ),
    "EinsumDense ...": (
        lambda: L.EinsumDense("...c,cd->...d", 5),
        7 * 16 * 5,
    ),
    "SimpleRNN": (lambda: L.SimpleRNN(5), 7 * (16 + 5) * 5),
    "LSTM": (lambda: L.LSTM(5, return_sequences=True), 7 * 4 * (16 + 5) * 5),
    "GRU both ways": (
        lambda: L.Bidirectional(L.GRU(5)),
        2 * 7 * 3 * (16 + 5) * 5,
    ),
    "stacked cells": (
        lambda: L.RNN([L.LSTMCell(5), L.GRUCell(3)]),
        7 * (4 * (16 + 5) * 5 + 3 * (5 + 3) * 3),
    ),
    "TimeDistributed": (lambda: L.TimeDistributed(L.Dense(3)), 7 * 16 * 3),
    "SpectralNormalization": (
        lambda: L.SpectralNormalization(L.Dense(3)),
        7 * 16 * 3,
    ),
    "LayerNormalization": (lambda: L.LayerNormalization((1, 2)), 0),
    "PReLU": (lambda: L.PReLU(), 0),
    "Repeat": (lambda: Repeat(L.Dense(16), 3), 3 * 7 * 16 * 16),
    "Recompute": (lambda: Recompute(L.Dense(4)), 7 * 16 * 4),
    "ReversibleStack": (
        lambda: ReversibleStack([L.Dense(16), L.Dense(16)]),
        2 * 7 * 16 * 16,
    ),
    "ReversibleStack of halves": (
        lambda: ReversibleStack([L.Dense(8), L.Dense(8)], coupling="additive"),
        2 * 7 * 8 * 8,
    ),
    # Votes; two agreements and two sums, as the first is a mean.
    "RoutingCapsules": (
        lambda: RoutingCapsules(3, 4),
        7 * 3 * 16 * 4 + 4 * 3 * 7 * 4,
    ),
}


@pytest.mark.parametrize("name", MORE)
def test_convolutions(name):
    make, expected = MORE[name]
    assert along(make(), shape=(8, 6, 4)) == expected


@pytest.mark.parametrize("name", SEQUENCES)
def test_layers_of_sequences(name):
    make, expected = SEQUENCES[name]
    assert along(make()) == expected


@pytest.mark.parametrize("version,layers", [(2, 6), (1, 6)])
def test_blocks_of_capsules(version, layers):
    """Two routing layers each."""
    block = ReversibleCapsule(5, 4, 3, version=version)
    votes, sums = 5 * 5 * 4 * 4, 4 * 5 * 5 * 4
    assert along(block, shape=(5, 4)) == layers * (votes + sums)


def test_recomputed_dense_blocks():
    plain, recomputed = (DenseBlock(2, 3, recompute=r) for r in (False, True))
    shape = (8, 6, 4)
    assert along(recomputed, shape=shape) == along(plain, shape=shape) > 0


def test_a_convolution_within_a_recurrent_layer():
    layer = L.ConvLSTM2D(4, 3, padding="same")
    kernels = 9 * (2 + 4) * 4 * 4
    assert along(layer, shape=(3, 6, 5, 2)) == 3 * 30 * kernels


def test_attention():
    """Four projections, scores, and weighted values."""
    inputs = keras.Input((7, 16))
    keys = keras.Input((9, 16))
    projections = (7 + 9 + 9 + 7) * 16 * 10
    products = 2 * 7 * 9 * 10
    outputs = L.MultiHeadAttention(2, 5)(inputs, keys)
    model = keras.Model([inputs, keys], outputs)
    assert multiply_adds(model) == projections + products
    outputs = L.Attention()([inputs, keys])
    model = keras.Model([inputs, keys], outputs)
    assert multiply_adds(model) == 2 * 7 * 9 * 16


def test_grouped_queries_share_keys():
    inputs = keras.Input((7, 16))
    outputs = L.GroupQueryAttention(5, 4, 2)(inputs, inputs)
    projections = 7 * 16 * 5 * (4 + 2 + 2 + 4)
    products = 2 * 7 * 7 * 20
    model = keras.Model(inputs, outputs)
    assert multiply_adds(model) == projections + products


def test_a_mask_changes_nothing():
    ids = keras.Input((7,), dtype="int32")
    plain, masked = (
        multiply_adds(keras.Model(ids, L.MultiHeadAttention(2, 8)(x, x)))
        for x in (
            L.Embedding(9, 16)(ids),
            L.Embedding(9, 16, mask_zero=True)(ids),
        )
    )
    assert plain == masked == 7 * 16 * 16 * 4 + 2 * 7 * 7 * 16


def operation(function, *shapes):
    inputs = [keras.Input(shape) for shape in shapes]
    return multiply_adds(keras.Model(inputs, function(*inputs)))


def test_operations():
    assert operation(ops.matmul, (3, 4), (4, 5)) == 60
    assert operation(lambda x: ops.matmul(x, np.ones((4, 5))), (3, 4)) == 60
    assert operation(lambda x: ops.dot(x, np.ones((4, 5))), (3, 4)) == 60
    kernel = np.ones((4, 5, 2), "float32")
    tensordot = operation(lambda x: ops.tensordot(x, kernel, 1), (3, 4))
    assert tensordot == 3 * 4 * 10
    einsum = operation(
        lambda x, y: ops.einsum("bij,bjk->bik", x, y), (3, 4), (4, 5)
    )
    assert einsum == 60
    kernel = np.ones((3, 3, 2, 5), "float32")
    assert operation(lambda x: ops.conv(x, kernel), (8, 6, 2)) == 24 * 90
    assert operation(lambda x: ops.relu(x) + x, (3, 4)) == 0


def test_weights_used_by_hand():
    class Tied(keras.Model):
        def __init__(self):
            super().__init__()
            self.scale = self.add_weight(shape=(4, 5), name="scale")
            self.low = L.Dense(4)

        def call(self, x):
            return ops.matmul(self.low(x), self.scale)

    model = Tied()
    model(np.ones((2, 3), "float32"))
    result = count(model)
    assert result.multiply_adds == 3 * 4 + 4 * 5
    assert result.parameters == model.count_params() == 20 + 16


def test_a_layer_of_layers_written_by_hand():
    class Mixer(L.Layer):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.inner = L.Dense(5)

        def build(self, input_shape):
            self.kernel = self.add_weight(shape=(5, 3))
            self.inner.build(input_shape)

        def call(self, x):
            return self.inner(x) @ self.kernel

    assert along(Mixer(), shape=(4,)) == 4 * 5 + 5 * 3


def test_what_is_folded_into_the_batch_counts():
    inputs = keras.Input((7, 16))
    flat = ops.reshape(inputs, (-1, 16))
    x = L.Dense(3)(flat)
    model = keras.Model(inputs, ops.reshape(x, (-1, 7, 3)))
    assert multiply_adds(model) == 7 * 16 * 3


def test_a_batch_of_a_given_size_is_divided_by():
    inputs = keras.Input(batch_shape=(5, 4))
    assert multiply_adds(keras.Model(inputs, L.Dense(3)(inputs))) == 12


def test_every_layer_of_keras_is_looked_at():
    """A rule, or it is opened; the rest needs what no call can show."""
    opened = "AdditiveAttention Attention Dot"
    opened += " GroupedQueryAttention MelSpectrogram MultiHeadAttention"
    opened += " STFTSpectrogram Lambda"
    never = "FlaxLayer JaxLayer TFSMLayer TorchModuleWrapper Layer Wrapper"
    cells = "GRUCell LSTMCell SimpleRNNCell StackedRNNCells"
    known = {*f"{opened} {never} {cells}".split()}
    rest = {
        kind.__name__
        for kind in vars(L).values()
        if isinstance(kind, type)
        and issubclass(kind, L.Layer)
        and COUNTS.find(object.__new__(kind)) is None
    }
    assert rest == known


def test_every_layer_of_ours_is_known(subtests):
    for name in layer_names():
        if not is_variant(name):
            with subtests.test(name):
                assert not count(model_of(name)).unknown
