"""What is computed on a GPU and on a CPU: every layer, model and wrapper.

A name is that of an export, or the name, a dash and a variant. Channels are
multiples of 16, as the matrix units of GPUs take them.
"""

import keras
import numpy as np
from keras import layers

import tfdeep
from tfdeep.training import Head

L, M, T = tfdeep.layers, tfdeep.models, tfdeep.training
IMAGE, CAPSULES, CLASSES, BATCH = (12, 12, 16), (16, 8), 3, 8
SEED = 0


def conv(**kwargs):
    return layers.Conv2D(16, 3, padding="same", use_bias=False, **kwargs)


def branch(rate=0.2):
    """A branch with every kind of state: statistics and a random stream."""
    return keras.Sequential(
        [
            layers.BatchNormalization(momentum=0.9),
            layers.ReLU(),
            conv(),
            layers.Dropout(rate, seed=SEED),
        ]
    )


def small(layer, *args):
    """A layer with small weights: many in a row hardly enlarge an error."""
    return layer(
        *args,
        kernel_initializer=keras.initializers.RandomNormal(0.0, 0.01, SEED),
    )


def wide(norm="batch"):
    return L.WideBlock(16, rate=0.2, norm=norm, seed=SEED)


LAYERS = {
    "StochasticDepth": lambda: L.StochasticDepth(branch(), 0.5, seed=SEED),
    "ReversibleStack": lambda: L.ReversibleStack([branch() for _ in "123"]),
    "Recompute": lambda: L.Recompute(branch()),
    "Repeat": lambda: L.Repeat(wide(), 3),
    "DenseBlock": lambda: L.DenseBlock(3, 16, rate=0.2, seed=SEED),
    "BasicBlock": lambda: L.BasicBlock(32, 2, seed=SEED),
    "BottleneckBlock": lambda: L.BottleneckBlock(16, seed=SEED),
    "AggregatedBlock": lambda: L.AggregatedBlock(16, 2, 4, 16, seed=SEED),
    "PreActivationBlock": lambda: L.PreActivationBlock(32, 2, seed=SEED),
    "PreActivationBottleneckBlock": (
        lambda: L.PreActivationBottleneckBlock(16, 2, seed=SEED)
    ),
    "WideBlock": wide,
    "DenseTransition": lambda: L.DenseTransition(0.5, rate=0.2, seed=SEED),
    "DropPath": lambda: L.DropPath(0.4, seed=SEED),
    "StochasticBlock": lambda: L.StochasticBlock(branch(), 0.5, seed=SEED),
    "BatchEntropy": lambda: L.BatchEntropy(),
    "GroupedConv2D": lambda: L.GroupedConv2D(32, 3, 4),
    "SparsePReLU": lambda: L.SparsePReLU(0.01),
    "WeightStandardizedConv2D": lambda: L.WeightStandardizedConv2D(32, 3),
    "ZeroPadShortcut": lambda: L.ZeroPadShortcut(32, 2, "average"),
    "PrimaryCapsules": lambda: L.PrimaryCapsules(32, 8, 3),
    "BasicBlock-stochastic": lambda: L.BasicBlock(
        16, survival_probability=0.5, seed=SEED
    ),
    "DenseBlock-recompute": lambda: L.DenseBlock(
        3, 16, rate=0.2, recompute=True, seed=SEED
    ),
    "Repeat-recompute": lambda: L.Repeat(wide(), 3, recompute=True),
    "Repeat-sqrt": lambda: L.Repeat(wide(), 4, recompute="sqrt"),
    "Repeat-survival": lambda: L.Repeat(wide(), 3, [0.9, 0.7, 0.5], seed=SEED),
    "ReversibleStack-additive": lambda: L.ReversibleStack(
        [layers.Dense(8, each) for each in ("tanh", "relu", "tanh")],
        "additive",
    ),
    "ReversibleStack-deep": lambda: L.ReversibleStack(
        [small(layers.Dense, 16, "tanh") for _ in range(60)]
    ),
}


def capsules(kind, *args, **settings):
    """A capsule layer whose first weights are large enough to matter."""
    initializer = keras.initializers.RandomNormal(0.0, 0.5, SEED)
    return lambda: kind(*args, kernel_initializer=initializer, **settings)


OF_CAPSULES = {
    "RoutingCapsules": capsules(L.RoutingCapsules, 16, 8),
    "ReversibleCapsule": capsules(L.ReversibleCapsule, 16, 8, 3),
    "CapsuleLength": lambda: L.CapsuleLength(),
    "CapsuleMask": lambda: L.CapsuleMask(),
    "RoutingCapsules-sda": capsules(L.RoutingCapsules, 16, 8, routing="sda"),
    "ReversibleCapsule-deep": capsules(L.ReversibleCapsule, 16, 8, 30),
}


def model(function, *args, **settings):
    """A model with logits; its decay is a part of the loss."""
    settings = {
        "input_shape": IMAGE,
        "classes": CLASSES,
        "classifier_activation": None,
        "seed": SEED,
        **settings,
    }
    return lambda: function(*args, **settings)


MODELS = {
    "ResNet": model(M.ResNet, 8, survival_probability=0.8),
    "DenseNet": model(M.DenseNet, 10, 16, recompute=True, rate=0.2),
    "WideResNet": model(M.WideResNet, 10, 1, rate=0.3),
    "ResNeXt": model(M.ResNeXt, 11, 2, 16),
    "MomentumCapsNet": lambda: M.MomentumCapsNet(
        2,
        input_shape=(17, 17, 1),
        classes=CLASSES,
        decoder=False,
        filters=16,
        num_capsules=5,
        capsule_dim=4,
        kernel_initializer=keras.initializers.RandomNormal(0.0, 1.5, SEED),
        seed=SEED,
    ),
    "ResNet-stacked": model(M.ResNet, 26, stacked=True),
    "WideResNet-private": model(
        M.WideResNet,
        10,
        1,
        norm="group",
        norm_groups=4,
        activation_first=True,
        weight_standardization=True,
    ),
}


def net(norm):
    """Three convolutions and a classifier, to be trained by a wrapper."""
    net = keras.Sequential([keras.Input(IMAGE)])
    for index in range(3):
        net.add(conv(name=f"conv_{index}"))
        net.add(norm())
        net.add(layers.ReLU(name=f"relu_{index}"))
    net.add(layers.GlobalAveragePooling2D())
    net.add(layers.Dense(CLASSES, dtype="float32", name="scores"))
    return net


def batch_norm():
    return layers.BatchNormalization(momentum=0.9)


def private(**settings):
    """A private model without noise, whose results can be compared."""
    silent = tfdeep.privacy.GaussianMechanism(noise_multiplier=0.0)
    return lambda: tfdeep.PrivateModel(
        net(lambda: layers.GroupNormalization(4)), mechanism=silent, **settings
    )


WRAPPERS = {
    "PrivateModel": private(l2_norm_clip=0.5),
    "BatchEntropyRegularizer": (
        lambda: T.BatchEntropyRegularizer(net(batch_norm))
    ),
    "DeepSupervision": (
        lambda: T.DeepSupervision(net(batch_norm), {"relu_0": Head()})
    ),
    "RelayBackpropagation": (
        lambda: T.RelayBackpropagation(net(batch_norm), {"relu_1": Head()})
    ),
    "PrivateModel-vectorized": private(l2_norm_clip=0.5, method="vectorized"),
    "PrivateModel-microbatches": private(l2_norm_clip=0.5, microbatch_size=2),
}
CASES = {**LAYERS, **OF_CAPSULES, **MODELS, **WRAPPERS}
# Exports that are no layer, model or wrapper.
OTHERS = {
    *("Architecture", "Head", "L2SVM", "Reach", "ResidualBlock"),
    *("batch_entropy", "capsule_classifier", "describe_reach"),
    *("dynamic_routing", "linear_survival", "multiply_adds", "paper_decay"),
    *("sda_routing", "squash", "stack", "unstack"),
    *("LayerCount", "ModelCount", "count", "count_rule", "replace"),
    *("ResidualBranch", "ResidualBranches", "find_residual_branches"),
    *("add_drop_path", "add_stochastic_depth", "remove_stochastic_depth"),
}


def missing() -> list[str]:
    """Exports that no case is about."""
    exports = {name for package in (L, M, T) for name in package.__all__}
    covered = {name.partition("-")[0] for name in CASES}
    return sorted(exports - covered - OTHERS)


def wrapped(layer, shape):
    """A small model around a layer, with weights below and above it.

    Those below move only if the gradient crosses the layer.
    """
    x = inputs = keras.Input(shape)
    x = layer(layers.Dense(shape[-1], name="below")(x))
    if len(x.shape) == 4:
        x = layers.GlobalAveragePooling2D()(x)
    elif len(x.shape) == 3:
        x = layers.GlobalAveragePooling1D()(x)
    # A loss in half precision is not what is compared.
    return keras.Model(inputs, layers.Dense(CLASSES, dtype="float32")(x))


def steps_of(name: str) -> int:
    """How many steps are taken: a branch that is dropped at one is kept later.

    A model takes one: in more, a ReLU that lets a value pass on one device and
    not on the other would change what is next.
    """
    return 1 if name in MODELS else 3


def rate_of(name: str) -> float:
    """A learning rate that moves weights by more than their rounding."""
    # Squashed vectors have small gradients.
    return 1.0 if name in {*OF_CAPSULES, "MomentumCapsNet"} else 0.01


def build(name: str):
    """`(model, loss, (x, y))` of a case, the same at every call."""
    keras.utils.set_random_seed(SEED)
    made = CASES[name]()
    if name in LAYERS:
        made = wrapped(made, IMAGE)
    elif name in OF_CAPSULES:
        made = wrapped(made, CAPSULES)
    rng = np.random.default_rng(SEED)
    x = rng.normal(size=(BATCH, *made.input_shape[1:])).astype("float32")
    if name in WRAPPERS:
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        return made, loss, (x, np.arange(BATCH, dtype="int32") % CLASSES)
    y = rng.normal(size=(BATCH, CLASSES)).astype("float32")
    return made, "mse", (x, y)
