"""Small nets of every form that channels take, and what is free in each."""

import keras
import numpy as np
from keras import layers, ops

import tfdeep


def filled(model, seed=0):
    """The model with random weights and statistics, none of them trivial."""
    rng = np.random.default_rng(seed)
    for variable in model.variables:
        if "seed" in variable.path or not variable.shape:
            continue
        if "variance" in variable.path:
            values = rng.uniform(0.5, 2.0, variable.shape)
        else:
            values = rng.normal(0, 0.5, variable.shape)
        variable.assign(values)
    return model


def inputs_for(model, rows=3, seed=1):
    """Random inputs that a model takes."""
    rng = np.random.default_rng(seed)

    def values(tensor):
        shape = (rows, *tensor.shape[1:])
        if "int" in str(tensor.dtype):
            return rng.integers(0, 7, shape).astype("int32")
        return rng.normal(size=shape).astype(str(tensor.dtype))

    graph = tfdeep.graph.graph_of(model)
    return keras.tree.map_structure(values, graph.inputs)


def head(x, name="out"):
    return layers.Dense(3, name=name)(layers.GlobalAveragePooling2D()(x))


def conv(filters, name, size=3, **kwargs):
    return layers.Conv2D(filters, size, padding="same", name=name, **kwargs)


def chain():
    i = keras.Input((6, 6, 3))
    x = conv(8, "a", activation="sigmoid")(i)
    x = layers.BatchNormalization()(x)
    x = conv(6, "b", activation="relu")(x)
    return keras.Model(i, layers.Dense(3)(layers.Flatten()(x)))


def residual():
    i = keras.Input((6, 6, 3))
    x = conv(8, "stem")(i)
    for block in "12":
        y = layers.BatchNormalization()(x)
        y = conv(10, f"{block}a")(layers.ReLU()(y))
        x = x + conv(8, f"{block}b")(y)
    return keras.Model(i, head(x))


def depthwise():
    i = keras.Input((6, 6, 3))
    x = conv(8, "a")(i)
    x = layers.DepthwiseConv2D(3, depth_multiplier=2, name="d")(x)
    x = layers.PReLU(shared_axes=(1, 2))(x)
    x = layers.SeparableConv2D(6, 3, depth_multiplier=2, name="s")(x)
    x = conv(12, "g", groups=6)(x)
    return keras.Model(i, head(x))


def grouped():
    i = keras.Input((6, 6, 3))
    x = conv(8, "a", 1)(i)
    x = conv(12, "g", groups=4)(x)
    return keras.Model(i, head(conv(5, "c")(x)))


def shuffled():
    """Channels of a grouped convolution change places (ShuffleNet)."""
    i = keras.Input((6, 6, 3))
    x = conv(8, "a", groups=1)(i)
    x = conv(8, "g1", 1, groups=2)(x)
    x = layers.Reshape((6, 6, 2, 4))(x)
    x = layers.Permute((1, 2, 4, 3))(x)
    x = layers.Reshape((6, 6, 8))(x)
    x = conv(8, "g2", groups=2)(x)
    return keras.Model(i, head(x))


def concatenated():
    i = keras.Input((6, 6, 3))
    a, b = conv(4, "a")(i), conv(6, "b")(i)
    x = layers.Concatenate()([a, b])
    x = layers.Concatenate()([x, conv(4, "c")(x)])
    return keras.Model(i, head(layers.ReLU()(x)))


def partly():
    """A layer of which two groups own a part each."""
    i = keras.Input((6, 6, 3))
    x = layers.Concatenate()([conv(4, "a")(i), conv(6, "b")(i)])
    x = layers.Add()([x, conv(10, "c")(i)])
    return keras.Model(i, head(x))


def transposed():
    i = keras.Input((4, 4, 3))
    x = layers.Conv2DTranspose(6, 3, strides=2, name="up")(i)
    x = layers.UpSampling2D()(layers.ReLU()(x))
    x = layers.Cropping2D(1)(layers.ZeroPadding2D(2)(x))
    return keras.Model(i, conv(3, "out")(x))


def squeeze_excite():
    i = keras.Input((6, 6, 3))
    x = conv(8, "a")(i)
    s = layers.GlobalAveragePooling2D()(x)
    s = layers.Dense(4, "relu", name="squeeze")(s)
    s = layers.Dense(8, "sigmoid", name="excite")(s)
    x = layers.Multiply()([x, layers.Reshape((1, 1, 8))(s)])
    return keras.Model(i, head(x))


def generator():
    i = keras.Input((5,))
    x = layers.Dense(4 * 4 * 6, name="low")(i)
    x = layers.Reshape((4, 4, -1))(x)
    return keras.Model(i, conv(2, "out")(conv(4, "c")(x)))


def attention():
    i = keras.Input((5,), dtype="int32")
    x = layers.Embedding(9, 8, name="embed")(i)
    y = layers.MultiHeadAttention(4, 3, name="mha")(x, x, use_causal_mask=True)
    x = layers.Add()([x, y])
    y = layers.GroupQueryAttention(2, 4, 2, name="gqa")(x, x)
    x = layers.Add()([x, y])
    y = layers.EinsumDense("btd,df->btf", (None, 10), bias_axes="f", name="up")(
        x
    )
    y = layers.Dense(8, name="down")(ops.gelu(y))
    x = layers.Add()([x, y])
    return keras.Model(i, layers.Dense(3)(layers.GlobalMaxPooling1D()(x)))


def attention_by_hand():
    """Heads made by reshapes; the values of each have channels of their own."""
    i = keras.Input((4, 6))
    x = layers.Dense(12, name="embed")(i)

    def heads(name):
        y = ops.reshape(layers.Dense(24, name=name)(x), (-1, 4, 3, 8))
        return ops.transpose(y, (0, 2, 1, 3))

    q = heads("q")
    w = ops.softmax(ops.matmul(q, ops.transpose(q, (0, 1, 3, 2))))
    y = ops.transpose(ops.matmul(w, heads("v")), (0, 2, 1, 3))
    y = layers.Dense(12, name="o")(ops.reshape(y, (-1, 4, 24)))
    return keras.Model(i, layers.Dense(2)(ops.mean(x + y, axis=1)))


def cross():
    i, j = keras.Input((5, 4)), keras.Input((3, 6))
    q, k = layers.Dense(8, name="q")(i), layers.Dense(6, name="k")(j)
    x = layers.MultiHeadAttention(3, 2, name="mha")(q, k)
    return keras.Model([i, j], layers.Dense(2)(layers.Flatten()(x)))


def recurrent():
    i = keras.Input((5, 4))
    x = layers.Conv1D(6, 2, name="conv")(i)
    x = layers.LSTM(5, return_sequences=True, name="lstm")(x)
    x = layers.GRU(4, return_sequences=True, name="gru")(x)
    x = layers.SimpleRNN(6, name="rnn")(x)
    return keras.Model(i, layers.Dense(2)(x))


def shared():
    """A layer and a model that are called twice."""
    i = keras.Input((6, 6, 3))
    twice = conv(8, "twice")
    a = keras.Input((6, 6, 8))
    inner = keras.Model(a, conv(8, "in2")(conv(5, "in1")(a)), name="inner")
    x = conv(8, "stem")(i)
    x = inner(twice(inner(layers.ReLU()(twice(x)))))
    return keras.Model(i, head(x))


def nested():
    i = keras.Input((6, 6, 3))
    a = keras.Input((6, 6, 8))
    inner = keras.Sequential(
        [layers.Input((6, 6, 8)), conv(8, "in"), layers.ReLU()], name="chain"
    )
    outer = keras.Model(a, inner(a) + a, name="outer")
    return keras.Model(i, head(outer(conv(8, "stem")(i))))


def operations():
    """What `keras.ops` do with channels."""
    i = keras.Input((6, 6, 3))
    x = conv(12, "a")(i)
    one, two, three = ops.split(x, [4, 8], axis=-1)
    x = ops.concatenate([ops.relu(one) * 2.0, ops.tanh(two), three], axis=-1)
    x = ops.transpose(x, (0, 3, 1, 2))
    x = ops.reshape(x, (-1, 12, 36))
    x = ops.swapaxes(x, 1, 2)
    x = ops.flip(ops.pad(x, [(0, 0), (0, 0), (0, 2)]), -1)
    x = layers.Dense(8, name="b")(x)
    x = ops.expand_dims(x[:, 2:, 1:], 2)
    x = ops.squeeze(ops.repeat(x, 2, axis=-1), 2)
    x = ops.mean(x, axis=1) + ops.max(x, axis=1)
    x = ops.where(x > 0.0, x, 0.1 * x)
    x = ops.take(x, [3, 1, 5, 6], axis=-1)
    return keras.Model(i, layers.Dense(2)(x))


def channels_first():
    # Not as many channels as pixels in a row: Keras 3.15 on TensorFlow adds
    # the bias of channels first to the wrong axis then.
    i = keras.Input((3, 6, 6))
    first = {"data_format": "channels_first"}
    x = layers.ZeroPadding2D(1, **first)(i)
    x = layers.DepthwiseConv2D(1, **first)(
        layers.Permute((3, 1, 2))(conv(10, "a")(layers.Permute((2, 3, 1))(x)))
    )
    x = layers.BatchNormalization(axis=1)(x)
    x = layers.Flatten(**first)(layers.ReLU()(x))
    return keras.Model(i, layers.Dense(2)(x))


def instance_norm():
    i = keras.Input((6, 6, 3))
    x = layers.GroupNormalization(8)(conv(8, "a")(i))
    x = layers.GroupNormalization(-1)(conv(6, "b")(x))
    x = layers.LayerNormalization(axis=(1, 2))(x)
    return keras.Model(i, head(x))


EXACT = {
    "chain": (chain, 14),
    "residual": (residual, 28),
    "depthwise": (depthwise, 14),
    "grouped": (grouped, 10),
    "shuffled": (shuffled, 10),
    "concatenated": (concatenated, 14),
    "partly": (partly, 10),
    "transposed": (transposed, 6),
    "squeeze_excite": (squeeze_excite, 12),
    "generator": (generator, 10),
    "attention": (attention, 24),
    "attention_by_hand": (attention_by_hand, 20),
    "cross": (cross, 25),
    "recurrent": (recurrent, 21),
    "shared": (shared, 21),
    "nested": (nested, 8),
    "operations": (operations, 20),
    "channels_first": (channels_first, 10),
    "instance_norm": (instance_norm, 14),
}


def layer_norm():
    i = keras.Input((5, 4))
    x = layers.Dense(8, name="low")(i)
    x = layers.LayerNormalization(name="norm")(x)
    x = layers.Dense(6, name="exact")(x)
    return keras.Model(i, layers.Dense(2)(x))


def rms_norm():
    i = keras.Input((5, 4))
    x = layers.RMSNormalization(name="norm")(layers.Dense(8, name="low")(i))
    return keras.Model(i, layers.Dense(2)(x))


def unit_norm():
    i = keras.Input((5, 4))
    x = layers.UnitNormalization(name="norm")(
        layers.Dense(8, "sigmoid", name="low")(i)
    )
    return keras.Model(i, layers.Dense(2)(ops.normalize(x)))


def group_norm():
    i = keras.Input((6, 6, 3))
    x = layers.GroupNormalization(2, name="norm")(conv(8, "low")(i))
    return keras.Model(i, head(x))


INEXACT = {
    "layer_norm": layer_norm,
    "rms_norm": rms_norm,
    "group_norm": group_norm,
    "unit_norm": unit_norm,
}
