"""Models with heads on them, and which layers each loss is to reach."""

import keras
from keras import layers

from tfdeep.training import Head


def heads(*names, **settings):
    """Heads that always start alike."""
    keras.utils.set_random_seed(3)
    return {name: Head(layers.Dense(3), **settings) for name in names}


def normal(x, units, seed, name=None, activation="tanh"):
    start = keras.initializers.HeNormal(seed)
    layer = layers.Dense(units, activation, kernel_initializer=start, name=name)
    return layer(x)


def chain():
    """d0 ... d6 and `out`."""
    x = inputs = keras.Input((8,))
    for index in range(7):
        x = normal(x, 6, index, f"d{index}")
    return keras.Model(inputs, normal(x, 3, 9, "out", None))


def skipping():
    """Skips over one layer and over three, one from the input."""
    inputs = keras.Input((8,))
    a = normal(inputs, 6, 0, "a")
    b = layers.Add()([a, normal(a, 6, 1, "b")])
    c = normal(layers.Concatenate()([b, inputs]), 6, 2, "c")
    d = normal(c, 6, 3, "d") * 0.5 + a
    e = layers.Add(name="e_sum")([d, normal(d, 6, 4, "e")])
    return keras.Model(inputs, normal(e, 3, 9, "out", None))


def nested():
    """Cuts lie inside of `low` and of `high/inner`."""

    def block(name, *parts):
        return keras.Sequential([keras.Input((6,)), *parts], name=name)

    def dense(seed, name):
        start = keras.initializers.HeNormal(seed)
        return layers.Dense(6, "tanh", kernel_initializer=start, name=name)

    inputs = keras.Input((8,))
    low = block("low", dense(1, "b"), dense(2, "c"))
    inner = block("inner", dense(3, "d"), dense(4, "e"))
    x = low(normal(inputs, 6, 0, "a"))
    x = block("high", inner, dense(5, "f"))(x)
    return keras.Model(inputs, normal(x, 3, 9, "out", None))


def norms():
    """Batch normalization between the layers, in training mode."""
    x = inputs = keras.Input((8,))
    for index, name in enumerate("abcd"):
        x = normal(x, 6, index, name, None)
        x = layers.BatchNormalization(name=f"norm_{name}")(x)
        x = layers.Activation("tanh", name=f"tanh_{name}")(x)
    return keras.Model(inputs, normal(x, 3, 9, "out", None))


# Model, where the heads are, arguments of the relay, and what each loss
# reaches: names of layers. What is not named is reached by none.
CASES = {
    "one head": (
        chain,
        ["d3"],
        {},
        {"d3": "d0 d1 d2 d3", "output": "d3 d4 d5 d6 out"},
    ),
    "two heads": (
        chain,
        ["d4", "d1"],
        {},
        {
            "d1": "d0 d1",
            "d4": "d1 d2 d3 d4",
            "output": "d4 d5 d6 out",
        },
    ),
    "wide overlap": (
        chain,
        ["d2", "d4"],
        {"overlap": 3},
        {
            "d2": "d0 d1 d2",
            "d4": "d0 d1 d2 d3 d4",
            "output": "d2 d3 d4 d5 d6 out",
        },
    ),
    "over two segments": (
        chain,
        ["d2", "d3", "d4"],
        {
            "segments": {
                "d2": ("d0", "d2"),
                "d3": ("d1", "d3"),
                "d4": ("d1", "d4"),
                "output": ("d2", "out"),
            }
        },
        {
            "d2": "d0 d1 d2",
            "d3": "d1 d2 d3",
            "d4": "d1 d2 d3 d4",
            "output": "d2 d3 d4 d5 d6 out",
        },
    ),
    "disjoint": (
        chain,
        ["d2"],
        {"overlap": 0},
        {"d2": "d0 d1 d2", "output": "d3 d4 d5 d6 out"},
    ),
    "everything": (
        chain,
        ["d2"],
        {"overlap": 9},
        {"d2": "d0 d1 d2", "output": "d0 d1 d2 d3 d4 d5 d6 out"},
    ),
    "skips": (
        skipping,
        ["c"],
        {"overlap": 2},
        {"c": "a b c", "output": "b c d e out"},
    ),
    "nested": (
        nested,
        ["c", "d"],
        {},
        {
            "low/c": "a b c",
            "high/inner/d": "c d",
            "output": "d e f out",
        },
    ),
    "norms": (
        norms,
        ["tanh_b"],
        {},
        {
            "tanh_b": "a norm_a b norm_b",
            "output": "b norm_b c norm_c d norm_d out",
        },
    ),
}
