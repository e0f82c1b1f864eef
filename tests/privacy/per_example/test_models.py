"""Clipped gradients of models of any build equal a loop over examples."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from tests.helpers import arrays, copy_weights, randomize
from tests.privacy.reference import check, cross_entropy, norm_of
from tfdeep.privacy import PrivateModel


def batch(shape, size=5):
    x = np.random.default_rng(1).normal(size=(size, *shape))
    return x.astype("float32"), np.arange(size) % 3


def tokens(low, high):
    x = np.random.default_rng(0).integers(low, high, (5, 6))
    return x, np.arange(5) % 3


def functional(inputs, outputs):
    model = keras.Model(inputs, layers.Dense(3)(outputs))
    randomize(model)
    return model


def test_transformer():
    inputs = keras.Input((6,))
    x = layers.Embedding(9, 5)(inputs)
    attended = layers.MultiHeadAttention(2, 3)(x, x)
    x = layers.LayerNormalization()(layers.Add()([x, attended]))
    base = functional(inputs, layers.GlobalAveragePooling1D()(x))
    ways = check(base, *tokens(0, 9)).describe_clipping()
    assert "/query" in ways and "layer by example" not in ways


def test_masked_sequences():
    inputs = keras.Input((6,))
    x = layers.Embedding(9, 5, mask_zero=True)(inputs)
    x = layers.Dense(4, "tanh")(x)
    base = functional(inputs, layers.GlobalAveragePooling1D()(x))
    x, y = tokens(0, 3)
    x[:, 0] = 1
    assert not x.all()
    check(base, x, y)


def test_layers_within_and_shared_add_up_before_the_norm():
    inner = keras.Sequential(
        [
            keras.Input((6, 5)),
            layers.Dense(5, "tanh"),
            layers.Conv1D(5, 3, padding="same"),
            layers.LayerNormalization(),
        ]
    )
    inputs = keras.Input((2, 6, 5))
    both = [inner(inner(inputs[:, 0])), inner(inputs[:, 1])]
    x = layers.Flatten()(layers.Concatenate()(both))
    model = check(functional(inputs, x), *batch((2, 6, 5)))
    assert model.describe_clipping().count("book-keeping") == 10


class ByHand(keras.Model):
    """A model whose layers can be told apart, or not."""

    def __init__(self, opaque):
        super().__init__()
        self.opaque = opaque
        self.first, self.last = layers.Dense(4, "tanh"), layers.Dense(3)

    def call(self, x):
        if self.opaque:
            x = ops.reshape(x, (int(np.prod(x.shape[:1])), -1))
        return self.last(self.first(x) + ops.mean(x, axis=1, keepdims=True))


@pytest.mark.parametrize("opaque", [False, True])
def test_models_written_by_hand(opaque):
    base = ByHand(opaque)
    base(np.zeros((1, 5), "float32"))
    randomize(base)
    model = check(base, *batch((5,)))
    assert ("the whole model" in model.describe_clipping()) is opaque


class Scaled(keras.Model):
    """Made from inputs and outputs, and computes more than they say."""

    def call(self, inputs, training=None):
        scale = 3.0 if training else 1.0
        return super().call(inputs, training=training) * scale


@pytest.mark.parametrize("nested", [False, True])
def test_a_graph_with_a_call_of_its_own(nested):
    inputs = keras.Input((5,))
    inner = Scaled(inputs, layers.Dense(3)(layers.Dense(4, "tanh")(inputs)))
    randomize(inner)
    check(functional(inputs, inner(inputs)) if nested else inner, *batch((5,)))


def test_several_inputs_and_outputs():
    inputs = {n: keras.Input((s,), name=n) for n, s in (("a", 3), ("b", 2))}
    x = layers.Concatenate()([inputs["a"], inputs["b"]])
    x = layers.Dense(4, "tanh")(x)
    outputs = {"u": layers.Dense(1)(x), "v": layers.Dense(3)(x)}
    random = np.random.default_rng(0)
    x, y = (
        {n: random.normal(size=(5, s)).astype("float32") for n, s in sizes}
        for sizes in ((("a", 3), ("b", 2)), (("u", 1), ("v", 3)))
    )
    compiled = {
        "loss": {"u": "mse", "v": "mae"},
        "loss_weights": {"u": 1.0, "v": 0.5},
    }
    check(keras.Model(inputs, outputs), x, y, compiled=compiled)


def test_weights_of_examples_come_before_the_clip():
    inputs = keras.Input((5,))
    base = functional(inputs, layers.Dense(4, "tanh")(inputs))
    weight = np.array([0.1, 2.0, 1.0, 0.5, 3.0], "float32")
    check(base, *batch((5,)), weight)


def test_a_loss_that_mixes_examples_sees_one_at_a_time():
    """A loss over the batch, such as a contrastive one, cannot leak."""
    inputs = keras.Input((5,))
    base = functional(inputs, layers.Dense(4, "tanh")(inputs))
    y = np.random.default_rng(2).normal(size=(5, 3)).astype("float32")

    def contrast(y, p):
        return ops.square(p - ops.mean(y)) * ops.sum(ops.exp(0.3 * p))

    check(base, batch((5,))[0], y, compiled={"loss": contrast})


def test_layers_that_compute_with_more_weights_run_again():
    """A layer with LoRA trains two small matrices beside the frozen one."""
    inputs = keras.Input((5,))
    changed = layers.Dense(4, "tanh")
    base = functional(inputs, changed(inputs))
    changed.enable_lora(2)
    randomize(base)
    assert len(changed.trainable_variables) == 3
    model = check(base, *batch((5,)))
    assert "layer by example" in model.describe_clipping()


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "bfloat16"])
def test_half_precision_adds_up_in_single(policy):
    def image():
        inputs = keras.Input((7, 8, 3))
        x = layers.Conv2D(4, 3, activation="tanh")(inputs)
        x = layers.GroupNormalization(2)(x)
        return functional(inputs, layers.Flatten()(x))

    plain = image()
    keras.config.set_dtype_policy(policy)
    half = image()
    copy_weights(plain, half)
    found = []
    for base in (half, plain):
        model = PrivateModel(base, l2_norm_clip=0.7)
        model.compile("sgd", cross_entropy())
        found.append(model.clipped_sum(*batch((7, 8, 3))))
    dtypes = {keras.backend.standardize_dtype(each.dtype) for each in found[0]}
    assert dtypes == {"float32"}
    ours, exact = map(arrays, found)
    error = norm_of([a - b for a, b in zip(ours, exact, strict=True)])
    assert error < 0.1 * norm_of(exact)


class Dropping(keras.Model):
    """Dropout that is told to train by the model around it, or not at all."""

    def __init__(self):
        super().__init__()
        self.drop = layers.Dropout(0.5, seed=1)
        self.never = layers.Dropout(0.9, seed=1)
        self.last = layers.Dense(3)

    def call(self, x, training=None):
        return self.last(self.never(self.drop(x), training=False))


def test_layers_within_are_told_of_training():
    base = Dropping()
    base(np.zeros((1, 5), "float32"))
    model = PrivateModel(base)
    model.compile("sgd", cross_entropy())
    assert "book-keeping" in model.describe_clipping()
    x = np.ones((16, 5), "float32")
    norms = model.per_example_norms(x, np.zeros(16, "int32"))
    assert np.unique(np.round(ops.convert_to_numpy(norms), 5)).size > 8
