"""Residual nets of every form, small, for whatever looks for branches."""

import keras
import numpy as np
from keras import layers, ops


def dense_branch(x, name, rate=0.2):
    """Normalized, with a random stream."""
    x = layers.BatchNormalization(momentum=0.5, name=f"{name}_norm")(x)
    x = layers.Dense(6, "relu", name=f"{name}_up")(x)
    x = layers.Dropout(rate, seed=1, name=f"{name}_dropout")(x)
    return layers.Dense(4, name=f"{name}_down")(x)


def chain():
    """Three branches beside the identity."""
    x = inputs = keras.Input((4,), name="in")
    for number in (1, 2, 3):
        y = dense_branch(x, f"b{number}")
        x = layers.Add(name=f"sum{number}")([x, y])
    return keras.Model(inputs, layers.Dense(2, name="out")(x))


def convolutions():
    """With a projection, strides, `+`, and sizes that are not known."""
    inputs = keras.Input((None, None, 3), name="in")
    x = layers.Conv2D(4, 3, padding="same", name="stem")(inputs)
    for number, strides in ((1, 1), (2, 2)):
        y = x
        for part in "ab":
            y = layers.BatchNormalization(name=f"norm{number}{part}")(y)
            y = layers.ReLU(name=f"relu{number}{part}")(y)
            y = layers.Conv2D(
                4,
                3,
                strides if part == "a" else 1,
                padding="same",
                name=f"conv{number}{part}",
            )(y)
        if strides > 1:
            x = layers.Conv2D(4, 1, strides, name=f"projection{number}")(x)
        x = x + y
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(inputs, layers.Dense(2, name="out")(x))


def own_drop_path():
    """Drop path as in EfficientNet, before and after a scale."""
    x = inputs = keras.Input((3, 3, 4), name="in")
    for number in (1, 2):
        y = layers.Conv2D(4, 3, padding="same", name=f"conv{number}")(x)
        y = layers.Dropout(
            0.1 * number, noise_shape=(None, 1, 1, 1), name=f"drop{number}"
        )(y)
        if number == 2:
            y = layers.Rescaling(0.5, name="scale")(y)
        x = layers.add([y, x], name=f"sum{number}")
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(inputs, layers.Dense(2, name="out")(x))


def nested():
    """A residual model inside, called twice, and a branch that is a model."""
    inputs = keras.Input((4,), name="in")
    inner = chain()
    inner.name = "inner"
    wide = layers.Dense(4, name="wide")
    branch = keras.Sequential(
        [keras.Input((4,)), layers.Dense(3), layers.Dense(4)], name="branch"
    )
    x = wide(inner(wide(inner(inputs))))
    x = layers.Add(name="sum")([x, branch(x)])
    return keras.Model(inputs, layers.Dense(2, name="out")(x))


def shared():
    """The same layers as the branch of three sums."""
    x = inputs = keras.Input((4,), name="in")
    up, down = layers.Dense(6, "tanh", name="up"), layers.Dense(4, name="down")
    add = layers.Add(name="sum")
    for _ in "123":
        x = add([x, down(up(x))])
    return keras.Model(inputs, layers.Dense(2, name="out")(x))


def within_one_another():
    """A branch in a branch, and a gate in another."""
    inputs = keras.Input((4,), name="in")
    y = layers.Dense(4, "relu", name="low")(inputs)
    z = layers.Dense(4, "relu", name="inner")(y)
    y = layers.Dense(4, name="high")(layers.Add(name="inner_sum")([y, z]))
    x = layers.Add(name="outer_sum")([y, inputs])
    gate = layers.Dense(4, "sigmoid", name="gate")(x)
    y = layers.Multiply(name="gated")([layers.Dense(4, name="value")(x), gate])
    x = layers.Add(name="gated_sum")([x, y])
    return keras.Model(inputs, layers.Dense(2, name="out")(x))


def attention():
    """A transformer's layer on masked tokens."""
    tokens = keras.Input((5,), dtype="int32", name="in")
    x = layers.Embedding(7, 4, mask_zero=True, name="embedding")(tokens)
    y = layers.LayerNormalization(name="norm1")(x)
    y = layers.MultiHeadAttention(2, 2, name="attention")(y, y)
    x = layers.Add(name="sum1")([x, y])
    y = layers.LayerNormalization(name="norm2")(x)
    y = layers.Dense(4, name="down")(layers.Dense(8, "gelu", name="up")(y))
    x = layers.Add(name="sum2")([x, y])
    x = layers.GlobalAveragePooling1D(name="pool")(x)
    return keras.Model(tokens, layers.Dense(2, name="out")(x))


def mixed():
    """Branches in half precision, whatever the policy is where they change."""
    inputs = keras.Input((4,), name="in")
    x = layers.Dense(4, name="stem", dtype="mixed_bfloat16")(inputs)
    for number in (1, 2):
        y = layers.Dense(
            4, "tanh", name=f"low{number}", dtype="mixed_bfloat16"
        )(x)
        y = layers.Dense(4, name=f"high{number}", dtype="mixed_bfloat16")(y)
        x = layers.Add(name=f"sum{number}", dtype="mixed_bfloat16")([x, y])
    return keras.Model(inputs, layers.Dense(2, name="out", dtype="float32")(x))


def frozen():
    """Some parts of the branches are frozen, and a nested model is."""
    model = nested()
    model.get_layer("inner").trainable = False
    model.get_layer("branch").layers[0].trainable = False
    return model


class ByHand(keras.Model):
    """Written by hand."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.low = layers.Dense(4, "tanh", name="low")
        self.drop = layers.Dropout(0.3, seed=1, name="drop")
        self.out = layers.Dense(2, name="out")

    def call(self, inputs, training=False):
        x = inputs + self.drop(self.low(inputs), training=training)
        return self.out(x + ops.tanh(x))


def by_hand():
    model = ByHand(name="by_hand")
    model(keras.Input((4,)))
    return model


# Each with the sums that have a branch, in order.
NETS = {
    "chain": (chain, ["sum1", "sum2", "sum3"]),
    "convolutions": (convolutions, ["add", "add#2"]),
    "own drop path": (own_drop_path, ["sum1", "sum2"]),
    "nested": (nested, ["inner/sum1", "inner/sum2", "inner/sum3", "sum"]),
    "shared": (shared, ["sum", "sum#2", "sum#3"]),
    "within one another": (
        within_one_another,
        ["inner_sum", "outer_sum", "gated_sum"],
    ),
    "attention": (attention, ["sum1", "sum2"]),
    "mixed": (mixed, ["sum1", "sum2"]),
    "frozen": (frozen, ["inner/sum1", "inner/sum2", "inner/sum3", "sum"]),
    "by hand": (by_hand, ["add"]),
}


def data_for(name, rows=8) -> tuple:
    """Inputs and targets that a net takes."""
    rng = np.random.default_rng(0)
    shapes = {
        "convolutions": (6, 5, 3),
        "own drop path": (3, 3, 4),
        "attention": (5,),
    }
    shape = (rows, *shapes.get(name, (4,)))
    x = rng.normal(size=shape).astype("float32")
    if name == "attention":
        x = rng.integers(0, 7, shape)
        x[:, 0] = 1  # Of an example without a token there is no mean.
    return x, rng.normal(size=(rows, 2)).astype("float32")
