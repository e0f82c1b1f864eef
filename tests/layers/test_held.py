"""Layers that hold a layer that was written by hand.

What users write has neither `build` nor `compute_output_shape`, makes its
parts in `__init__`, and may take several tensors, return another dtype, or
measure something.
"""

import keras
import numpy as np
import pytest
from keras import layers, ops

from tfdeep.layers import (
    Recompute,
    Repeat,
    ReversibleStack,
    StochasticBlock,
    StochasticDepth,
)
from tfdeep.models import unstack

X = np.random.default_rng(0).normal(size=(8, 4)).astype("float32")


@keras.saving.register_keras_serializable(package="tests")
class Own(layers.Layer):
    """A Dense layer inside, and nothing said about shapes."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.inner = layers.Dense(4)

    def call(self, inputs):
        return self.inner(inputs)


@keras.saving.register_keras_serializable(package="tests")
class Gated(Own):
    """Takes two tensors."""

    def call(self, inputs):
        signal, gate = inputs
        return self.inner(signal) * gate


class Measured(Own):
    """Counts its calls in training."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.mean = keras.metrics.Mean()

    def call(self, inputs):
        outputs = self.inner(inputs)
        self.mean.update_state(ops.ones(()))
        return outputs


class Selfish(layers.Layer):
    """Takes no name, and no further argument."""

    def __init__(self, units):
        super().__init__()
        self.units = units

    def call(self, inputs):
        return inputs


HOLDERS = {
    "Recompute": Recompute,
    "Repeat": lambda layer: Repeat(layer, 3),
    "Repeat-recompute": lambda layer: Repeat(layer, 3, recompute=True),
    "Repeat-survival": lambda layer: Repeat(layer, 2, [0.9, 0.5]),
    "ReversibleStack": lambda layer: ReversibleStack([layer, type(layer)()]),
    "StochasticBlock": lambda layer: StochasticBlock(layer, 0.5, seed=0),
    "StochasticDepth": lambda layer: StochasticDepth(layer, 0.5, seed=0),
    "StochasticDepth-kept": lambda layer: StochasticDepth(layer, 1 - 1e-7),
}


def trained(inputs, layer, x, **options):
    """A model of one layer, trained on batches of two sizes."""
    model = keras.Model(inputs, layer(inputs))
    model.compile("sgd", "mse", **options)
    before = model.get_weights()
    losses = model.fit(x, X, 3, verbose=0, epochs=3).history["loss"]
    assert np.all(np.isfinite(losses))
    pairs = zip(before, model.get_weights(), strict=True)
    assert all(np.any(old != new) for old, new in pairs)
    return model


# Keras says so of any layer that makes its parts in `__init__`, when it loads.
@pytest.mark.filterwarnings("ignore:.build... was called on layer")
@pytest.mark.parametrize("name", HOLDERS)
def test_a_layer_that_says_nothing_about_shapes(name, tmp_path):
    model = trained(keras.Input((4,)), HOLDERS[name](Own()), X)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    expected = model.predict(X, verbose=0)
    np.testing.assert_array_equal(loaded.predict(X, verbose=0), expected)


@pytest.mark.parametrize("name", HOLDERS)
def test_in_a_sequential_model_built_by_fit(name):
    model = keras.Sequential([HOLDERS[name](Own()), layers.Dense(4)])
    model.compile("sgd", "mse")
    assert np.isfinite(model.fit(X, X, verbose=0).history["loss"][0])


@pytest.mark.filterwarnings("ignore:.*not have any trainable weights")
@pytest.mark.parametrize("make", [Gated, layers.Add])
@pytest.mark.parametrize("hold", ["Recompute", "StochasticDepth"])
def test_two_inputs(hold, make):
    inputs = [keras.Input((4,)), keras.Input((4,))]
    model = trained(inputs, HOLDERS[hold](make()), [X, X])
    layer = model.layers[-1].layer
    scale = 0.5 if hold == "StochasticDepth" else 1.0
    plain = ops.convert_to_numpy(layer([X, 2 * X]))
    found = model.predict([X, 2 * X], verbose=0)
    np.testing.assert_allclose(found, scale * plain, 1e-5, 1e-6)


def test_a_dropped_branch_of_two_inputs_gives_zeros():
    layer = StochasticDepth(Gated(), 0.0)
    assert not np.any(layer([X, X], training=True))


@pytest.mark.tensorflow
@pytest.mark.parametrize("name", ["Recompute", "StochasticBlock"])
def test_a_metric_inside_counts(name):
    measured = Measured()
    layer = HOLDERS[name](measured)
    model = trained(keras.Input((4,)), layer, X)
    measured.mean.reset_state()
    model.fit(X, X, 1, verbose=0)
    count = float(measured.mean.count)
    assert count == 8 if name == "Recompute" else 0 < count < 8


@pytest.mark.parametrize("training", [False, True])
def test_a_branch_of_another_precision(training):
    wide = layers.Dense(4, dtype="float32")
    layer = StochasticDepth(wide, 0.5, seed=0, dtype="mixed_bfloat16")
    shortcut = ops.cast(X, "bfloat16")
    for _ in range(4):
        y = layer(X, shortcut, training=training)
        assert keras.backend.standardize_dtype(y.dtype) == "bfloat16"


def test_a_block_that_returns_another_dtype():
    block = layers.Lambda(lambda x: ops.cast(x, "float32"))
    layer = StochasticBlock(block, 0.5, dtype="mixed_bfloat16")
    y = layer(X, training=False)
    assert keras.backend.standardize_dtype(y.dtype) == "bfloat16"


def test_a_model_that_is_skipped_keeps_its_policy(tmp_path):
    block = keras.Sequential(
        [layers.Dense(4, dtype="mixed_bfloat16") for _ in "12"]
    )
    layer = Repeat(block, 3, [0.9, 0.8, 0.7], dtype="mixed_bfloat16")
    model = keras.Sequential([keras.Input((4,)), layer])
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    expected = model.predict(X, verbose=0)
    for found in (loaded, unstack(loaded)):
        np.testing.assert_array_equal(found.predict(X, verbose=0), expected)


def test_a_class_that_takes_no_further_arguments():
    with pytest.raises(TypeError, match="hand `\\*\\*kwargs` on to"):
        Repeat(Selfish(4), 3).build((None, 4))


BLOCKS = {
    "dense": lambda: layers.Dense(4),
    "attention": lambda: Attending(),
    "normalized": lambda: keras.Sequential(
        [layers.LayerNormalization(), layers.Dense(4, "gelu")]
    ),
    "pooled": lambda: keras.Sequential(
        [
            layers.Conv1D(4, 3, padding="same"),
            layers.AveragePooling1D(2, 1, "same"),
        ]
    ),
}


@keras.saving.register_keras_serializable(package="tests")
class Attending(layers.Layer):
    """Self-attention."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.attention = layers.MultiHeadAttention(2, 2)

    def call(self, inputs):
        return self.attention(inputs, inputs)


@pytest.mark.slow
@pytest.mark.tensorflow
@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("hold", ["StochasticDepth-kept", "Repeat"])
def test_xla_with_batches_of_unknown_size(hold, block):
    make = BLOCKS[block]
    x = np.random.default_rng(0).normal(size=(5, 6, 4)).astype("float32")
    results = []
    for jit_compile in (False, True):
        keras.utils.set_random_seed(0)
        inputs = keras.Input((6, 4))
        model = keras.Model(inputs, HOLDERS[hold](make())(inputs))
        model.compile("sgd", "mse", jit_compile=jit_compile)
        model.fit(x, x, 3, verbose=0, epochs=2, shuffle=False)
        results.append(model.predict(x, verbose=0))
    np.testing.assert_allclose(*results, 1e-4, 1e-5)


@pytest.mark.tensorflow
@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("hold", ["Repeat-recompute", "Recompute"])
def test_a_variable_of_tensorflow_is_refused(hold, compiled):
    import tensorflow as tf

    layer = HOLDERS[hold](Scaled(tf.Variable(2.0)))
    layer.build((None, 4))

    def gradient(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x, training=True)
        return y, tape.gradient(y, x)

    with pytest.raises(ValueError, match="Received: tf.Variable"):
        (tf.function(gradient) if compiled else gradient)(tf.ones((1, 4)))


class Scaled(layers.Layer):
    """Multiplies by a variable that is none of its weights."""

    def __init__(self, factor, **kwargs):
        super().__init__(**kwargs)
        self.factor = lambda: factor

    def get_config(self):
        return {**super().get_config(), "factor": self.factor()}

    def call(self, inputs):
        return inputs * self.factor()


class TestEqualBlocks:
    """Blocks of a built ReversibleStack that come to differ."""

    def stack(self):
        blocks = [layers.Dense(4, "tanh") for _ in range(4)]
        stack = ReversibleStack(blocks)
        return blocks, keras.Sequential([keras.Input((4,)), stack])

    def test_half_frozen(self):
        blocks, model = self.stack()
        for block in blocks[:2]:
            block.trainable = False
        model.compile("sgd", "mse")
        before = [block.kernel.numpy() for block in blocks]
        model.fit(X, X, verbose=0)
        moved = [
            bool(np.any(block.kernel.numpy() != old))
            for block, old in zip(blocks, before, strict=True)
        ]
        assert moved == [False, False, True, True]

    def test_an_activation_changed_by_hand(self):
        blocks, model = self.stack()
        blocks[2].activation = keras.activations.relu
        x, v = X.astype("float64"), 0.0
        for block in blocks:
            kernel, bias = (w.numpy().astype("float64") for w in block.weights)
            z = x @ kernel + bias
            y = np.maximum(z, 0) if block is blocks[2] else np.tanh(z)
            v = 0.9 * v + 0.1 * y
            x = x + v
        np.testing.assert_allclose(model(X), x, 1e-5, 1e-6)

    def test_low_rank_updates_of_one(self):
        blocks, model = self.stack()
        blocks[1].enable_lora(2)
        model.compile("sgd", "mse")
        model.fit(X, X, verbose=0)
        assert np.any(blocks[1].lora_kernel_b.numpy())
