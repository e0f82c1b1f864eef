"""Clipped gradients of every supported layer equal a loop over examples."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from tests.helpers import randomize
from tests.privacy.reference import compare
from tfdeep import backend
from tfdeep.layers import GroupedConv2D
from tfdeep.privacy import PrivateModel
from tfdeep.privacy.per_example import gradients
from tfdeep.privacy.per_example.convolution import kernel_form

# Smooth activations: batches of one and of many may fall on two sides of a
# kink. The layers under test come first; a classifier follows.
CASES = {
    "dense": ((5,), lambda: [layers.Dense(4, "tanh")]),
    "dense_in_sequences": (
        (6, 5),
        lambda: [layers.Dense(4, "tanh"), layers.Dense(80, use_bias=False)],
    ),
    "conv1d_causal": (
        (9, 3),
        lambda: [
            layers.Conv1D(
                4, 3, padding="causal", dilation_rate=2, activation="tanh"
            )
        ],
    ),
    "conv1d_strided": (
        (9, 3),
        lambda: [layers.Conv1D(4, 2, strides=3, padding="same")],
    ),
    "conv2d": (
        (7, 8, 3),
        lambda: [
            layers.Conv2D(4, 3, padding="same", activation="tanh"),
            layers.Conv2D(6, (2, 3), strides=2),
            layers.Conv2D(9, 2, padding="same", use_bias=False),
        ],
    ),
    "conv2d_strides": (
        (9, 8, 2),
        lambda: [
            layers.Conv2D(4, (3, 2), strides=(2, 3), padding="same"),
            layers.Conv2D(3, 1, strides=2),
        ],
    ),
    "conv2d_dilated": (
        (8, 8, 2),
        lambda: [layers.Conv2D(4, 3, dilation_rate=(2, 1), padding="same")],
    ),
    "conv2d_few_positions": (
        (3, 3, 16),
        lambda: [layers.Conv2D(32, 2, groups=2, activation="tanh")],
    ),
    "conv3d": (
        (4, 5, 4, 2),
        lambda: [layers.Conv3D(3, 2, strides=2, padding="same")],
    ),
    "grouped": (
        (6, 6, 4),
        lambda: [
            layers.Conv2D(8, 3, groups=2, padding="same", activation="tanh"),
            GroupedConv2D(4, 1, groups=4),
        ],
    ),
    "depthwise": (
        (6, 6, 3),
        lambda: [
            layers.DepthwiseConv2D(3, depth_multiplier=2, activation="tanh"),
            layers.DepthwiseConv2D(2, strides=2, padding="same"),
        ],
    ),
    "depthwise1d": ((6, 3), lambda: [layers.DepthwiseConv1D(3)]),
    "separable": (
        (6, 6, 3),
        lambda: [
            layers.SeparableConv2D(5, 3, depth_multiplier=2, strides=2),
        ],
    ),
    "separable1d": (
        (8, 3),
        lambda: [layers.SeparableConv1D(5, 3, padding="same")],
    ),
    "transposed": (
        (5, 4, 3),
        lambda: [
            layers.Conv2DTranspose(4, 3, strides=2, padding="same"),
            layers.Conv2DTranspose(2, (2, 3), strides=3),
        ],
    ),
    "transposed1d": ((5, 3), lambda: [layers.Conv1DTranspose(4, 3, strides=2)]),
    "transposed3d": ((2, 3, 2, 2), lambda: [layers.Conv3DTranspose(2, 2)]),
    "einsum": (
        (6, 5),
        lambda: [
            layers.EinsumDense(
                "abc,cde->abde", (6, 2, 3), bias_axes="de", activation="tanh"
            ),
            layers.EinsumDense("abde,def->abf", (6, 4), bias_axes="f"),
            layers.EinsumDense("abf,bfg->abg", (6, 3), bias_axes="bg"),
        ],
    ),
    "layer_norm": (
        (4, 6),
        lambda: [
            layers.LayerNormalization(),
            layers.Dense(5),
            layers.LayerNormalization(axis=[1, 2], center=False),
        ],
    ),
    "group_norm": (
        (4, 4, 6),
        lambda: [layers.Conv2D(6, 3), layers.GroupNormalization(3)],
    ),
    "rms_norm": (
        (4, 6),
        lambda: [layers.Dense(5), layers.RMSNormalization()],
    ),
}
BY_LAYER = {
    "prelu": (
        (4, 4, 3),
        lambda: [layers.PReLU("uniform"), layers.Conv2D(2, 2)],
    ),
    "recurrent": (
        (4, 3),
        lambda: [layers.LSTM(4, return_sequences=True), layers.GRU(3)],
    ),
    "time_distributed": (
        (4, 5, 3),
        lambda: [layers.TimeDistributed(layers.Dense(3, "tanh"))],
    ),
}


def sequential(shape, stack):
    base = keras.Sequential([keras.Input(shape), *stack, layers.Flatten()])
    base.add(layers.Dense(3))
    return base


def compiled(base, clip=0.7, **arguments):
    model = PrivateModel(base, l2_norm_clip=clip, **arguments)
    model.compile(
        "sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    )
    randomize(base)
    return model


def batch(shape, size=5, dtype="float32"):
    x = np.random.default_rng(1).normal(size=(size, *shape)).astype(dtype)
    return x, (np.arange(size) % 3).astype("int32")


@pytest.mark.parametrize("name", CASES)
def test_book_keeping(name):
    shape, make = CASES[name]
    model = compiled(sequential(shape, make()))
    assert "layer by example" not in model.describe_clipping()
    compare(model, *batch(shape), clip=0.7)


@pytest.mark.parametrize("name", BY_LAYER)
def test_other_layers_run_again_on_each_example(name):
    shape, make = BY_LAYER[name]
    model = compiled(sequential(shape, make()))
    assert "layer by example" in model.describe_clipping()
    compare(model, *batch(shape), clip=0.7)


@pytest.mark.parametrize("name", ["dense", "conv2d"])
@pytest.mark.parametrize("method", ["vectorized", "loop"])
def test_whole_models_run_on_each_example(name, method):
    shape, make = CASES[name]
    model = compiled(sequential(shape, make()), method=method)
    compare(model, *batch(shape), clip=0.7)


@pytest.mark.parametrize("size", [1, 2, 64])
def test_batches_of_any_size(size):
    shape, make = CASES["conv2d"]
    compare(compiled(sequential(shape, make())), *batch(shape, size), clip=0.7)


@pytest.mark.tensorflow
@pytest.mark.parametrize("name", CASES)
def test_double_precision(name):
    shape, make = CASES[name]
    keras.config.set_dtype_policy("float64")
    keras.config.set_floatx("float64")
    try:
        model = compiled(sequential(shape, make()))
        x, y = batch(shape, dtype="float64")
        compare(model, x, y, clip=0.7, tolerance=1e-10)
    finally:
        keras.config.set_floatx("float32")


def test_transformer():
    inputs = keras.Input((6,))
    x = layers.Embedding(9, 5)(inputs)
    attended = layers.MultiHeadAttention(2, 3)(x, x)
    x = layers.LayerNormalization()(layers.Add()([x, attended]))
    outputs = layers.Dense(3)(layers.GlobalAveragePooling1D()(x))
    model = compiled(keras.Model(inputs, outputs))
    ways = model.describe_clipping()
    assert "/query" in ways and "layer by example" not in ways
    x = np.random.default_rng(0).integers(0, 9, (5, 6))
    compare(model, x, np.arange(5) % 3, clip=0.7)


def test_masked_sequences():
    inputs = keras.Input((6,))
    x = layers.Embedding(9, 5, mask_zero=True)(inputs)
    x = layers.Dense(4, "tanh")(x)
    outputs = layers.Dense(3)(layers.GlobalAveragePooling1D()(x))
    model = compiled(keras.Model(inputs, outputs))
    x = np.random.default_rng(0).integers(0, 3, (5, 6))
    x[:, 0] = 1
    compare(model, x, np.arange(5) % 3, clip=0.7)


def test_shared_layers_add_up_before_the_norm():
    inputs = keras.Input((6, 5))
    x = inputs
    dense, conv = layers.Dense(5, "tanh"), layers.Conv1D(5, 3, padding="same")
    norm = layers.LayerNormalization()
    for _ in range(2):
        x = norm(conv(dense(x)))
    outputs = layers.Dense(3)(layers.Flatten()(x))
    compare(compiled(keras.Model(inputs, outputs)), *batch((6, 5)), clip=0.7)


def test_nested_models():
    inner = keras.Sequential([keras.Input((5,)), layers.Dense(4, "tanh")])
    inputs = keras.Input((2, 5))
    both = [inner(inputs[:, 0]), inner(inputs[:, 1])]
    outputs = layers.Dense(3)(layers.Concatenate()(both))
    compare(compiled(keras.Model(inputs, outputs)), *batch((2, 5)), clip=0.7)


class ByHand(keras.Model):
    def __init__(self, mode="symbolic"):
        super().__init__()
        self.mode = mode
        self.first, self.last = layers.Dense(4, "tanh"), layers.Dense(3)

    def call(self, x):
        if self.mode == "opaque":
            x = ops.reshape(x, (int(np.prod(x.shape[:1])), -1))
        return self.last(self.first(x) + ops.mean(x, axis=1, keepdims=True))


@pytest.mark.parametrize("mode", ["symbolic", "opaque"])
def test_models_written_by_hand(mode):
    base = ByHand(mode)
    base(np.zeros((1, 5), "float32"))
    model = compiled(base)
    whole = "the whole model" in model.describe_clipping()
    assert whole == (mode == "opaque")
    compare(model, *batch((5,)), clip=0.7)


def test_several_inputs_and_outputs():
    inputs = {n: keras.Input((s,), name=n) for n, s in (("a", 3), ("b", 2))}
    x = layers.Concatenate()([inputs["a"], inputs["b"]])
    x = layers.Dense(4, "tanh")(x)
    outputs = {"u": layers.Dense(1)(x), "v": layers.Dense(3)(x)}
    base = keras.Model(inputs, outputs)
    model = PrivateModel(base, l2_norm_clip=0.7)
    model.compile(
        "sgd", {"u": "mse", "v": "mae"}, loss_weights={"u": 1.0, "v": 0.5}
    )
    random = np.random.default_rng(0)
    x = {n: random.normal(size=(5, s)) for n, s in (("a", 3), ("b", 2))}
    y = {n: random.normal(size=(5, s)) for n, s in (("u", 1), ("v", 3))}
    x, y = ({n: v.astype("float32") for n, v in d.items()} for d in (x, y))
    compare(model, x, y, clip=0.7)


def test_weights_of_examples_come_before_the_clip():
    model = compiled(sequential((5,), [layers.Dense(4, "tanh")]))
    x, y = batch((5,))
    weight = np.array([0.1, 2.0, 1.0, 0.5, 3.0], "float32")
    compare(model, x, y, weight, clip=0.7)


def test_a_loss_that_mixes_examples_sees_one_at_a_time():
    """A loss over the batch, such as a contrastive one, cannot leak."""
    base = sequential((5,), [layers.Dense(4, "tanh")])
    model = PrivateModel(base, l2_norm_clip=0.7)
    model.compile(
        "sgd", lambda y, p: ops.square(p - ops.mean(y)) * ops.sum(ops.exp(p))
    )
    x, _ = batch((5,))
    y = np.random.default_rng(2).normal(size=(5, 3)).astype("float32")
    compare(model, x, y, clip=0.7)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "bfloat16"])
def test_half_precision_adds_up_in_single(policy):
    keras.config.set_dtype_policy(policy)
    shape, make = CASES["conv2d"]
    model = compiled(sequential(shape, make()))
    x, y = batch(shape, 8)
    sums = model.clipped_sum(x, y)
    assert {keras.backend.standardize_dtype(s.dtype) for s in sums} == {
        "float32"
    }
    total = sum(float(ops.sum(ops.square(each))) for each in sums)
    assert 0 < np.sqrt(total) <= 8 * 0.7


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
    model = compiled(base)
    assert "book-keeping" in model.describe_clipping()
    x = np.ones((16, 5), "float32")
    norms = model.per_example_norms(x, np.zeros(16, "int32"))
    assert np.unique(np.round(ops.convert_to_numpy(norms), 5)).size > 8


@pytest.mark.parametrize("name", ["dense_in_sequences", "conv2d_few_positions"])
def test_few_positions_have_their_norm_from_pairs(name, monkeypatch):
    paired = []
    pairs_of = gradients.pairs_of
    monkeypatch.setattr(
        gradients, "pairs_of", lambda t: paired.append(t) or pairs_of(t)
    )
    shape, make = CASES[name]
    model = compiled(sequential(shape, make()))
    compare(model, *batch(shape), clip=0.7)
    assert paired


@pytest.mark.skipif(
    keras.backend.backend() != "jax", reason="XLA's memory is asked by JAX"
)
def test_patches_are_of_one_convolution_at_a_time(monkeypatch):
    import jax

    def memory():
        def norms(tensors):
            forms = [
                kernel_form(x, x, ((3, 3), (1, 1), (1, 1), "same"), *rest)
                for x in tensors
            ]
            return gradients.Gradients(forms).square_norms()

        rest = (1, 1, (3, 3, 16, 16))
        compiled = jax.jit(norms).lower([x] * 6).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    x = jax.ShapeDtypeStruct((8, 16, 16, 16), "float32")
    in_order = memory()
    monkeypatch.setattr(backend, "once_known", lambda tensor, event: tensor)
    assert in_order < memory() / 2
