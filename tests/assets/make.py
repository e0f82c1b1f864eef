"""Write the frozen models: files of released versions, which must stay readable.

    python -m tests.assets.make

Each is a model with what it returned for an input when it was saved. A file
that exists is never written again: a new layer gets a file of its own.
Run it on the TensorFlow backend.
"""

from pathlib import Path

import keras
import numpy as np

from tfdeep import layers

FOLDER = Path(__file__).resolve().parent


def layers_0_1():
    """A model with every layer of version 0.1."""
    shared = {"seed": 1, "norm": "group"}
    return keras.Sequential(
        [
            keras.Input((None, None, 4)),
            layers.GroupedConv2D(4, 3, groups=2, padding="same"),
            layers.BasicBlock(
                6, 2, "A-average", survival_probability=0.5, weight_decay=1e-4
            ),
            layers.BottleneckBlock(2, width=3, shortcut="C", use_bias=True),
            layers.AggregatedBlock(2, 1, cardinality=2, base_width=32),
            layers.DenseBlock(2, 3, rate=0.2, recompute=True, seed=1),
            layers.DenseTransition(0.6, **shared),
            layers.PreActivationBlock(8, shortcut="A", **shared),
            layers.WideBlock(8, rate=0.3, fan_mode="fan_out", **shared),
            layers.PreActivationBottleneckBlock(2, shortcut="B"),
            layers.StochasticDepth(
                keras.layers.SeparableConv2D(8, 3, padding="same"), 0.5, seed=1
            ),
            layers.DropPath(0.2, seed=1),
            layers.ZeroPadShortcut(9, strides=2),
            keras.layers.GlobalAveragePooling2D(),
        ]
    )


def batch_entropy_0_1():
    """The layer that reports its batch entropy."""
    return keras.Sequential(
        [
            keras.Input((8, 8, 4)),
            keras.layers.Conv2D(3, 3, activation="relu"),
            layers.BatchEntropy(),
            keras.layers.GlobalAveragePooling2D(),
        ]
    )


def repeat_0_1():
    """A model with repeated layers."""
    return keras.Sequential(
        [
            keras.Input((None, None, 4)),
            layers.Repeat(
                layers.WideBlock(4, rate=0.3, seed=1), 3, [0.9, 0.7, 0.5]
            ),
            layers.StochasticBlock(
                keras.layers.Conv2D(4, 3, padding="same"), 0.5, seed=1
            ),
            keras.layers.GlobalAveragePooling2D(),
        ]
    )


def capsules_0_1():
    """A model with capsules, reversible layers, standardised kernels."""

    def conv():
        return keras.layers.Conv2D(4, 3, padding="same", activation="tanh")

    inputs = keras.Input((8, 8, 4))
    x = layers.WeightStandardizedConv2D(4, 3, padding="same")(inputs)
    x = layers.Recompute(conv())(x)
    x = layers.ReversibleStack([conv(), conv()])(x)
    x = layers.PrimaryCapsules(8, 4, 3)(x)
    x = layers.RoutingCapsules(5, 4)(x)
    x = layers.ReversibleCapsule(5, 4, 2)(x)
    parts = [layers.CapsuleLength()(x), layers.CapsuleMask()(x)]
    return keras.Model(inputs, keras.layers.Concatenate()(parts))


def residual_capsules_0_1():
    """Capsules with a skip connection around each routing layer."""
    inputs = keras.Input((8, 8, 4))
    x = layers.PrimaryCapsules(8, 4, 3, bias_initializer="ones")(inputs)
    x = layers.RoutingCapsules(5, 4)(x)
    x = layers.ReversibleCapsule(5, 4, 2, routing="sda")(x)
    return keras.Model(inputs, layers.CapsuleLength()(x))


def slopes_0_1():
    """Units that training may make linear, and an inverted branch."""
    branch = keras.layers.Conv2D(3, 3, padding="same")
    return keras.Sequential(
        [
            keras.Input((8, 8, 4)),
            keras.layers.Conv2D(3, 3),
            layers.SparsePReLU(0.01, negative_slope=0.1),
            layers.StochasticDepth(branch, 0.5, seed=1, inverted=True),
            keras.layers.GlobalAveragePooling2D(),
        ]
    )


MODELS = {
    "layers-0.1": layers_0_1,
    "batch_entropy-0.1": batch_entropy_0_1,
    "repeat-0.1": repeat_0_1,
    "capsules-0.1": capsules_0_1,
    "residual_capsules-0.1": residual_capsules_0_1,
    "slopes-0.1": slopes_0_1,
}


def freeze(name: str, build) -> None:
    """Write a model and an input with its output, unless they exist."""
    path = FOLDER / f"{name}.keras"
    if path.exists():
        print(f"{path.name} exists and stays as it is.")
        return
    model, random = build(), np.random.default_rng(0)
    x = random.normal(size=(2, 8, 8, 4)).astype("float32")
    weights = model.get_weights()
    model.set_weights([w + random.uniform(0, 0.2, w.shape) for w in weights])
    model(x, training=True)  # Random streams and statistics have moved on.
    y = np.array(model(x, training=False))
    model.save(path)
    np.savez(path.with_suffix(".npz"), x=x, y=y)
    print(f"{path.name} written.")


if __name__ == "__main__":
    for each, build in MODELS.items():
        freeze(each, build)
