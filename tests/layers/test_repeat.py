"""Stacked layers in a loop, beside the same layers in a row."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from tests.helpers import (
    Probe,
    arrays,
    close,
    flat,
    gradients,
    images,
)
from tests.layers.in_a_row import (
    compare,
    near,
    noisy,
    pair,
    stacked_like,
    state_of,
    state_of_row,
)
from tfdeep import backend
from tfdeep.layers import BasicBlock, Repeat, WideBlock


class Residual(layers.Layer):
    """A layer of a user's own, with layers and a random stream inside."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.norm = layers.BatchNormalization()
        self.dense = layers.Dense(4, "relu")
        self.noise = layers.GaussianNoise(0.1, seed=5)

    def build(self, input_shape):
        self.norm.build(input_shape)
        self.dense.build(input_shape)

    def call(self, inputs, training=None):
        x = self.norm(inputs, training=training)
        return inputs + self.noise(self.dense(x), training=training)

    def compute_output_shape(self, input_shape):
        return input_shape


KINDS = {
    "dense": (lambda: layers.Dense(4, "tanh"), (4,)),
    "noisy": (noisy, (4,)),
    "nested": (lambda: keras.Sequential([noisy(), noisy()]), (4,)),
    "own": (Residual, (4,)),
    "wide": (lambda: WideBlock(4, rate=0.3, seed=1), (5, 5, 4)),
    "group": (lambda: BasicBlock(4, norm="group", shortcut="C"), (5, 5, 4)),
    "stateless": (layers.ReLU, (4,)),
    "in itself": (lambda: Repeat(noisy(), 2), (4,)),
}


def pair_of(kind, count=3, **settings):
    make, shape = KINDS[kind]
    return pair(make(), shape, count, **settings)


@pytest.mark.parametrize("kind", KINDS)
def test_equals_the_layers_in_a_row(kind):
    ours, row, x = pair_of(kind)
    compare(ours, row, x, steps=2)
    compare(ours, row, x, training=False)


@pytest.mark.jax
@pytest.mark.parametrize("kind", ["own", "in itself"])
def test_equals_them_without_jit(kind):
    compare(*pair_of(kind), compiled=False)


@pytest.mark.slow
@pytest.mark.tensorflow  # On JAX the first test is compiled.
@pytest.mark.parametrize("kind", ["own", "wide", "stateless", "in itself"])
def test_equals_them_in_a_graph(kind, float64):
    compare(*pair_of(kind), compiled=True, steps=2)


@pytest.mark.parametrize("recompute", [True, "sqrt"])
@pytest.mark.parametrize("kind", ["noisy", "wide"])
def test_recomputation_changes_nothing(kind, recompute):
    compare(*pair_of(kind, 5, recompute=recompute))


@pytest.mark.slow
@pytest.mark.tensorflow
@pytest.mark.parametrize(
    ("kind", "recompute"), [("noisy", "sqrt"), ("wide", True)]
)
def test_recomputation_changes_nothing_in_a_graph(kind, recompute, float64):
    compare(*pair_of(kind, 5, recompute=recompute), compiled=True)


@pytest.mark.tensorflow  # JAX takes what counts out of its loop.
@pytest.mark.parametrize(
    ("recompute", "passes"), [(False, 1), (True, 2), ("sqrt", 3)]
)
def test_recomputation_takes_further_forward_passes(recompute, passes):
    ours = Repeat(Probe(), 4, recompute=recompute)
    gradients(ours, images(2, 4), compiled=True, training=True)
    assert ours.template.layer.count == {"forward": 4 * passes, "backward": 4}


@pytest.mark.slow
@pytest.mark.tensorflow
@pytest.mark.parametrize("recompute", [False, "sqrt"])
def test_compiled_by_xla(recompute, float64):
    # Dropout draws other numbers under XLA: let it never drop.
    block = keras.Sequential(
        [
            layers.Dense(4, "tanh"),
            layers.BatchNormalization(momentum=0.6),
            layers.Dropout(1e-9, seed=3),
        ]
    )
    compare(*pair(block, (4,), 3, recompute=recompute), compiled="xla")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "count", "recompute"),
    [("dense", 3, False), ("dense", 3, True), ("group", 2, False)],
)
def test_gradients_of_gradients(kind, count, recompute):
    ours, row, x = pair_of(kind, count, recompute=recompute)

    def curvature(layer):
        trainable, state = backend.read_variables(layer)

        def norm(primals, _):
            def loss(inner):
                y, _, _ = backend.stateless_call(
                    layer, inner, state, x, training=True
                )
                return ops.sum(ops.sin(y))

            grads = backend.value_and_gradients(loss, primals)[1]
            return sum(ops.sum(ops.square(g)) for g in grads), ()

        run = backend.compiled_pullback(norm)
        value, _, pullback = run(trainable, ())
        return arrays([value]), arrays(pullback())

    value, grads = curvature(ours)
    expected_value, expected = curvature(row)
    close(value, expected_value, 1e-4)
    near(grads, stacked_like(ours, expected))


def test_one_repeat_begins_as_the_plain_layer():
    # Both draw their seeds from Keras' stream, which starts anew.
    def plain():
        keras.utils.set_random_seed(1)
        return WideBlock(4, rate=0.3, seed=1)

    ours, layer, x = Repeat(plain(), 1), plain(), images(6, 5, 5, 4)
    close(
        [y[0] for y in flat(gradients(ours, x, training=True))[2:]],
        flat(gradients(layer, x, training=True))[2:],
    )
    close(arrays([ours(x)]), arrays([layer(x)]))


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_is_that_of_the_copies(policy):
    keras.config.set_dtype_policy(policy)
    ours, row, x = pair_of("noisy")
    assert {w.dtype for w in ours.weights} == {"float32"}
    assert ours.compute_dtype == policy.removeprefix("mixed_")
    y, expected = ours(x, training=True), row(x, training=True)
    assert keras.backend.standardize_dtype(y.dtype) == ours.compute_dtype
    close(
        arrays([ops.cast(y, "float32")]),
        arrays([ops.cast(expected, "float32")]),
        1e-2,
        1e-2,
    )
    # The statistics are kept in full precision.
    close(state_of(ours), state_of_row(ours, row), 1e-2, 1e-2)
    values = state_of(ours)[1]
    assert np.any(values != values.astype("float16").astype("float32"))
