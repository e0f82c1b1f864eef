"""Models of every form, and data for each, for whatever reads graphs."""

import keras
import numpy as np
from keras import layers, ops

import tfdeep


@keras.saving.register_keras_serializable(package="tests")
class Counting(keras.Model):
    """A Functional model with a step of its own."""

    def train_step(self, *args, **kwargs):
        return super().train_step(*args, **kwargs)


class ByHand(keras.Model):
    """Written by hand, of layers alone."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.low = layers.Dense(4, "tanh")
        self.drop = layers.Dropout(0.3, seed=1)
        self.out = layers.Dense(2)

    def call(self, inputs, training=False):
        x = self.low(inputs)
        x = self.drop(x, training=training)
        return self.out(x * 2.0 + ops.mean(x, axis=-1, keepdims=True))


@keras.saving.register_keras_serializable(package="tests")
class Parts(layers.Layer):
    """Makes its parts in `build`, and says nothing about shapes."""

    def build(self, input_shape):
        self.low = layers.Dense(5)
        self.low.build(input_shape)
        self.norm = layers.BatchNormalization(momentum=0.5)
        self.norm.build((*input_shape[:-1], 5))

    def call(self, inputs, training=None):
        return self.norm(self.low(inputs), training=training)


def sequential():
    return keras.Sequential(
        [
            keras.Input((4,)),
            layers.Dense(6, "relu", name="low"),
            layers.BatchNormalization(momentum=0.5),
            layers.Dropout(0.3, seed=2),
            layers.Dense(2),
        ],
        name="chain",
    )


def structured():
    """Inputs and outputs by name."""
    inputs = {n: keras.Input((s,), name=n) for n, s in (("a", 4), ("b", 3))}
    x = layers.Concatenate()([inputs["a"], inputs["b"]])
    x = layers.Dense(5, "tanh", name="low")(x)
    outputs = {
        "u": layers.Dense(1, name="u")(x),
        "v": layers.Dense(3, "softmax", name="v")(x),
    }
    return keras.Model(inputs, outputs)


def nested():
    """A shared model inside, called twice, and a layer called twice."""
    inputs = keras.Input((4,))
    inner = keras.Sequential(
        [keras.Input((4,)), layers.Dense(4, "tanh"), layers.Dropout(0.2)]
    )
    dense = layers.Dense(4, name="twice")
    x = inner(dense(inner(inputs)))
    outer_in = keras.Input((4,))
    outer = keras.Model(outer_in, layers.Dense(4)(outer_in) + outer_in)
    return keras.Model(inputs, layers.Dense(2)(outer(dense(x))))


def operations():
    """Operations, constants, a Lambda, and arguments of Python."""
    inputs = keras.Input((6, 4))
    x = ops.transpose(inputs, (0, 2, 1)) * 0.5 + np.ones((4, 1), "float32")
    x = ops.concatenate([x, ops.relu(x)], axis=-1)
    x = layers.Lambda(lambda t: t + 1.0)(x)
    x = layers.MultiHeadAttention(2, 2)(x, x, use_causal_mask=True)
    x = ops.sum(x, axis=1, keepdims=False)
    return keras.Model(inputs, layers.Dense(2)(x))


def masked():
    tokens = keras.Input((5,), dtype="int32")
    x = layers.Embedding(7, 4, mask_zero=True)(tokens)
    x = layers.LSTM(4, return_sequences=True)(x)
    x = layers.GlobalAveragePooling1D()(x)
    return keras.Model(tokens, layers.Dense(2)(x))


def mixed():
    inputs = keras.Input((4,))
    x = layers.Dense(5, "relu", dtype="mixed_bfloat16")(inputs)
    return keras.Model(inputs, layers.Dense(2, dtype="float32")(x))


def half_frozen():
    model = sequential()
    model.layers[0].trainable = False
    model.layers[1].trainable = False
    inputs = keras.Input((4,))
    parts = Parts()
    x = parts(inputs)
    parts.norm.trainable = False
    return keras.Model(inputs, model(layers.Dense(4)(x)))


def own_step():
    inputs = keras.Input((4,))
    return Counting(inputs, layers.Dense(2)(layers.Dense(4, "relu")(inputs)))


def by_hand():
    model = ByHand()
    model(keras.Input((4,)))
    return model


def ours():
    return tfdeep.models.ResNet(
        14, input_shape=(8, 8, 3), classes=2, survival_probability=0.7
    )


def stacked():
    inputs = keras.Input((4,))
    block = keras.Sequential(
        [layers.Dense(4, "tanh"), layers.BatchNormalization()]
    )
    x = tfdeep.layers.Repeat(block, 3, [0.9, 0.8, 0.7])(inputs)
    x = tfdeep.layers.Recompute(Parts())(x)
    return keras.Model(inputs, layers.Dense(2)(x))


MODELS = {
    "sequential": sequential,
    "structured": structured,
    "nested": nested,
    "operations": operations,
    "masked": masked,
    "mixed": mixed,
    "half frozen": half_frozen,
    "own step": own_step,
    "by hand": by_hand,
    "ours": ours,
    "stacked": stacked,
}


def data_for(model, rows=8) -> tuple:
    """Inputs and targets that a model takes."""
    rng = np.random.default_rng(0)

    def inputs(spec):
        shape = (rows, *spec.shape[1:])
        if "int" in str(spec.dtype):
            return rng.integers(0, 7, shape).astype("int32")
        return rng.normal(size=shape).astype("float32")

    def targets(spec):
        return rng.normal(size=(rows, *spec.shape[1:])).astype("float32")

    graph = tfdeep.graph.graph_of(model)
    return (
        keras.tree.map_structure(inputs, graph.inputs),
        keras.tree.map_structure(targets, graph.outputs),
    )
