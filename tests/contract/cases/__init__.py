"""Every export of tfdeep, with the smallest use of it.

A key of `CASES` is the name of an export, or the name, a dash and a variant.
`test_complete.py` fails when an export is missing here: a new layer or model
is in the contract or it is not in the package.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import keras
from keras import layers

import tfdeep
from tests.contract.plain import (
    SEED,
    Length,
    basic_branch,
    bottleneck_branch,
    bottleneck_resnext,
    branch,
    conv,
    norm,
    plain_resnet,
    preactivated_bottleneck_branch,
    preactivated_branch,
)
from tfdeep.layers.seed_state import Dropout

# Packages whose exports are Keras layers or models, under the contract.
NAMESPACES = {"layers": tfdeep.layers, "models": tfdeep.models}
# Packages that export none, and what they hold instead.
OTHER_PACKAGES = {
    "backend": "primitives used by the layers",
    "callbacks": "guests of a fit",
    "data": "datasets",
    "initializers": "transforms of a built model",
    "losses": "losses for compile, under tests/losses",
    "privacy": "private training, under tests/privacy",
    "recipes": "training runs",
    "training": "wrappers around a model, under tests/training/test_wrapper.py",
    "visualization": "figures",
}
# Exports that are no layers or models, and what they are instead.
OTHER_EXPORTS = {
    "Architecture": "the arguments that all models share",
    "batch_entropy": "a function of a tensor",
    "capsule_classifier": "a function of a model",
    "dynamic_routing": "a function of a tensor",
    "sda_routing": "a function of a tensor",
    "squash": "a function of a tensor",
    "ResidualBlock": "the abstract base of the residual blocks",
    "linear_survival": "a function of numbers",
    "multiply_adds": "a figure of a model",
    "stack": "a function of a built model",
    "unstack": "a function of a built model",
}


@dataclass(frozen=True)
class Case:
    """One use of an export.

    Args:
        make: makes a layer from keyword arguments of its class, or a model
            from those of its function.
        shape: the shape of one sample.
        data_format: whether it can be told where the channels are.
        random: whether training draws random numbers.
        alone: settings with which a sample's result in training depends on
            that sample alone, so that devices may share a batch.
        masked: makes a layer that hands on the mask of a sequence of
            vectors with four entries.
        free_sizes: whether all sizes but the last may be unknown.
        neutral: makes a neutral setting and the plain thing it equals.
    """

    make: Callable
    shape: tuple = (6, 6, 4)
    data_format: bool = True
    random: bool = False
    alone: dict = field(default_factory=dict)
    masked: Callable | None = None
    neutral: Callable | None = None
    free_sizes: bool = True


def reversible(norm="batch", rate=0.0, seed=SEED, **kwargs):
    """Two equal blocks whose inputs are computed back."""
    blocks = [noisy(rate, norm, seed, kwargs.get("dtype")) for _ in "12"]
    return tfdeep.layers.ReversibleStack(blocks, **kwargs)


def dense(dtype=None):
    initializer = keras.initializers.HeNormal(SEED)
    return layers.Dense(4, "tanh", kernel_initializer=initializer, dtype=dtype)


def recompute(rate=0.0, norm="batch", seed=SEED, **kwargs):
    inner = noisy(rate, norm, seed, kwargs.get("dtype"))
    return tfdeep.layers.Recompute(inner, **kwargs)


def noisy(rate=0.0, norm="batch", seed=SEED, dtype=None):
    """A branch with a random stream that is saved."""
    kinds = {
        "batch": lambda: layers.BatchNormalization(momentum=0.9, dtype=dtype),
        "group": lambda: layers.GroupNormalization(2, dtype=dtype),
    }
    return keras.Sequential(
        [
            conv(4, dtype=dtype),
            kinds[norm](),
            Dropout(rate, seed=seed, dtype=dtype),
        ]
    )


def capsules(kind, *args, **settings):
    """A factory of a capsule layer with large, fixed first weights."""
    if kind is L.PrimaryCapsules:
        initializer = keras.initializers.HeNormal(SEED)
        settings["kernel_initializer"] = initializer
    elif kind not in (L.CapsuleLength, L.CapsuleMask):
        initializer = keras.initializers.RandomNormal(0.0, 0.5, SEED)
        settings["kernel_initializer"] = initializer
    return lambda **kwargs: kind(*args, **{**settings, **kwargs})


def stochastic_depth(survival_probability=0.5, rate=0.0, seed=SEED, **kwargs):
    inner = branch(rate, kwargs.get("dtype"))
    return tfdeep.StochasticDepth(inner, survival_probability, seed, **kwargs)


def repeat(
    survival_probabilities=None,
    recompute=False,
    seed=SEED,
    norm="batch",
    rate=0.0,
    data_format=None,
    **kwargs,
):
    """Two wide blocks as one layer."""
    inner = tfdeep.layers.WideBlock(
        4,
        rate=rate,
        norm=norm,
        seed=seed,
        data_format=data_format,
        dtype=kwargs.get("dtype"),
    )
    return tfdeep.layers.Repeat(
        inner, 2, survival_probabilities, recompute, **kwargs
    )


def repeated(**settings):
    """A factory of `repeat`, open to further arguments."""
    return lambda **kwargs: repeat(**{**settings, **kwargs})


def repeated_dense(**kwargs):
    initializer = keras.initializers.GlorotUniform(SEED)
    inner = layers.Dense(
        4,
        "tanh",
        kernel_initializer=initializer,
        dtype=kwargs.get("dtype"),
    )
    return tfdeep.layers.Repeat(inner, 3, **kwargs)


def stochastic_block(survival_probability=0.5, rate=0.0, seed=SEED, **kwargs):
    inner = branch(rate, kwargs.get("dtype"))
    return tfdeep.layers.StochasticBlock(
        inner, survival_probability, seed, **kwargs
    )


def layer(kind, *args, **settings):
    """A factory of one of our layers, open to further arguments."""
    if issubclass(kind, keras.layers.Conv2D):
        settings["kernel_initializer"] = keras.initializers.HeNormal(SEED)
    elif kind not in (L.BatchEntropy, L.ZeroPadShortcut):
        settings["seed"] = SEED
    return lambda **kwargs: kind(*args, **{**settings, **kwargs})


def model(function, *args, **settings):
    """A factory of one of our models: logits of 3 classes, no decay."""
    shared = {
        "input_shape": (6, 6, 4),
        "classes": 3,
        "classifier_activation": None,
        "weight_decay": 0.0,
        "seed": SEED,
    }
    return lambda **kwargs: function(*args, **{**shared, **settings, **kwargs})


def momentum_capsnet(**kwargs):
    """A small net without a decoder."""
    settings = {
        "input_shape": (17, 17, 4),
        "filters": 8,
        "num_capsules": 5,
        "capsule_dim": 4,
        "kernel_initializer": keras.initializers.RandomNormal(0.0, 1.5, SEED),
        "seed": SEED,
    }
    return M.MomentumCapsNet(
        2, classes=3, decoder=False, **{**settings, **kwargs}
    )


def pair(ours: Callable, plain: Callable) -> Callable:
    return lambda: (ours(), plain())


L, M = tfdeep.layers, tfdeep.models
GROUP = {"norm": "group"}
STEADY = {"norm": "group", "rate": 0.0}

CASES = {
    "AggregatedBlock": Case(
        layer(L.AggregatedBlock, 4, 2, 2, 32),
        alone=GROUP,
        neutral=pair(
            layer(L.AggregatedBlock, 4, 1, 1, 64), layer(L.BottleneckBlock, 4)
        ),
    ),
    "BasicBlock": Case(
        layer(L.BasicBlock, 8, 2),
        alone=GROUP,
        neutral=pair(
            layer(L.BasicBlock, 4, shortcut="none"),
            lambda: keras.Sequential([*basic_branch(), layers.ReLU()]),
        ),
    ),
    "BasicBlock-padded": Case(
        layer(L.BasicBlock, 8, 2, "A-average", norm="group", use_bias=True)
    ),
    "BasicBlock-stochastic": Case(
        layer(L.BasicBlock, 8, 2, survival_probability=0.5),
        random=True,
        alone=GROUP,
    ),
    "BatchEntropy": Case(
        layer(L.BatchEntropy),
        data_format=False,
        masked=lambda: L.BatchEntropy(),
        neutral=pair(layer(L.BatchEntropy), layers.Identity),
    ),
    "BottleneckBlock": Case(
        layer(L.BottleneckBlock, 2, width=3),
        alone=GROUP,
        neutral=pair(
            layer(L.BottleneckBlock, 2, shortcut="none"),
            lambda: keras.Sequential([*bottleneck_branch(), layers.ReLU()]),
        ),
    ),
    "CapsuleLength": Case(
        capsules(L.CapsuleLength),
        shape=(5, 4),
        data_format=False,
        free_sizes=False,
        neutral=pair(capsules(L.CapsuleLength), Length),
    ),
    "CapsuleMask": Case(
        capsules(L.CapsuleMask),
        shape=(1, 4),
        data_format=False,
        free_sizes=False,
        neutral=pair(capsules(L.CapsuleMask), layers.Flatten),
    ),
    "DenseBlock": Case(
        layer(L.DenseBlock, 2, 3, rate=0.2),
        random=True,
        alone=STEADY,
        neutral=pair(layer(L.DenseBlock, 0, 3), layers.Identity),
    ),
    "DenseBlock-recompute": Case(
        layer(L.DenseBlock, 2, 3, rate=0.2, recompute=True),
        random=True,
        alone=STEADY,
        neutral=pair(
            layer(L.DenseBlock, 3, 2, rate=0.2, recompute=True),
            layer(L.DenseBlock, 3, 2, rate=0.2),
        ),
    ),
    "DenseTransition": Case(
        layer(L.DenseTransition, 0.75, rate=0.2),
        random=True,
        alone=STEADY,
        neutral=pair(
            layer(L.DenseTransition, 1.0),
            lambda: keras.Sequential(
                [norm(), layers.ReLU(), conv(4, 1), layers.AveragePooling2D(2)]
            ),
        ),
    ),
    "DropPath": Case(
        layer(L.DropPath, rate=0.4),
        data_format=False,
        random=True,
        alone={"rate": 0.0},
        masked=lambda: L.DropPath(0.4, seed=SEED),
        neutral=pair(layer(L.DropPath, rate=0.0), layers.Identity),
    ),
    "GroupedConv2D": Case(
        layer(L.GroupedConv2D, 6, 3, 2),
        neutral=pair(layer(L.GroupedConv2D, 6, 3), lambda: layers.Conv2D(6, 3)),
    ),
    "PreActivationBlock": Case(
        layer(L.PreActivationBlock, 8, 2, "A"),
        alone=GROUP,
        neutral=pair(
            layer(L.PreActivationBlock, 4, shortcut="none"),
            lambda: keras.Sequential(preactivated_branch()),
        ),
    ),
    "PreActivationBottleneckBlock": Case(
        layer(L.PreActivationBottleneckBlock, 2, 2, "1x1"),
        alone=GROUP,
        neutral=pair(
            layer(L.PreActivationBottleneckBlock, 2, shortcut="none"),
            lambda: keras.Sequential(preactivated_bottleneck_branch()),
        ),
    ),
    "PrimaryCapsules": Case(
        capsules(L.PrimaryCapsules, 6, 3, 3),
        data_format=False,
        neutral=pair(
            capsules(L.PrimaryCapsules, 6, 3, 3),
            lambda: keras.Sequential(
                [
                    layers.Conv2D(6, 3, 2),
                    layers.Reshape((-1, 3)),
                    layers.Activation(L.squash),
                ]
            ),
        ),
    ),
    "Recompute": Case(
        lambda rate=0.3, **kwargs: recompute(rate, **kwargs),
        data_format=False,
        random=True,
        alone=STEADY,
        neutral=pair(recompute, noisy),
    ),
    "Recompute-masked": Case(
        lambda **kwargs: L.Recompute(dense(kwargs.get("dtype")), **kwargs),
        data_format=False,
        masked=lambda: L.Recompute(layers.Dense(4)),
    ),
    "Repeat": Case(
        repeated(rate=0.3),
        random=True,
        alone=STEADY,
        neutral=pair(repeated(survival_probabilities=[1.0, 1.0]), repeated()),
    ),
    "Repeat-masked": Case(
        repeated_dense,
        data_format=False,
        masked=lambda: L.Repeat(layers.Dense(4), 2),
    ),
    "Repeat-recompute": Case(
        repeated(recompute=True),
        alone=GROUP,
        neutral=pair(repeated(recompute=True), repeated()),
    ),
    "Repeat-sqrt": Case(
        repeated(recompute="sqrt", rate=0.3),
        random=True,
        alone=STEADY,
    ),
    "Repeat-survival": Case(
        repeated(survival_probabilities=[0.8, 0.5]), random=True, alone=GROUP
    ),
    "StochasticBlock": Case(
        stochastic_block,
        data_format=False,
        random=True,
        masked=lambda: L.StochasticBlock(layers.Dense(4), 0.5, seed=SEED),
        neutral=pair(lambda: stochastic_block(1.0, 0.2), lambda: branch(0.2)),
    ),
    "ReversibleCapsule": Case(
        capsules(L.ReversibleCapsule, 5, 4, 3),
        shape=(5, 4),
        data_format=False,
        free_sizes=False,
        neutral=pair(
            capsules(L.ReversibleCapsule, 5, 4, 3),
            capsules(L.ReversibleCapsule, 5, 4, 3, recompute=False),
        ),
    ),
    "ReversibleCapsule-sda": Case(
        capsules(
            L.ReversibleCapsule, 5, 4, 3, routing="sda", checkpoint_every=2
        ),
        shape=(5, 4),
        data_format=False,
        free_sizes=False,
        alone={"routing": "dynamic"},
    ),
    "ReversibleStack": Case(
        lambda rate=0.3, **kwargs: reversible(rate=rate, **kwargs),
        data_format=False,
        random=True,
        alone=STEADY,
        neutral=pair(reversible, lambda: reversible(recompute=False)),
    ),
    "ReversibleStack-masked": Case(
        lambda **kwargs: L.ReversibleStack(
            [dense(kwargs.get("dtype")) for _ in "12"], **kwargs
        ),
        data_format=False,
        masked=lambda: L.ReversibleStack([layers.Dense(4), layers.Dense(4)]),
    ),
    "ReversibleStack-additive": Case(
        lambda **kwargs: L.ReversibleStack(
            [
                conv(2, seed=SEED + i, dtype=kwargs.get("dtype"), activation=f)
                for i, f in enumerate(("tanh", "relu", "tanh"))
            ],
            "additive",
            **kwargs,
        ),
        data_format=False,
    ),
    "RoutingCapsules": Case(
        capsules(L.RoutingCapsules, 6, 3),
        shape=(5, 4),
        data_format=False,
        free_sizes=False,
        # A single capsule gets every vote, however often it is asked.
        neutral=pair(
            capsules(L.RoutingCapsules, 1, 3, 4),
            capsules(L.RoutingCapsules, 1, 3, 1),
        ),
    ),
    "RoutingCapsules-sda": Case(
        capsules(L.RoutingCapsules, 6, 3, routing="sda"),
        shape=(5, 4),
        data_format=False,
        free_sizes=False,
        # The mean distance is that of the batch.
        alone={"routing": "dynamic"},
    ),
    # Random, but alike on all devices: they take one decision per step.
    # A Dropout of Keras in the branch would start anew after loading.
    "StochasticDepth": Case(
        stochastic_depth,
        data_format=False,
        random=True,
        masked=lambda: tfdeep.StochasticDepth(layers.Dense(4), 0.5, seed=SEED),
        neutral=pair(lambda: stochastic_depth(1.0, 0.2), lambda: branch(0.2)),
    ),
    "WideBlock": Case(
        layer(L.WideBlock, 8, 2, rate=0.3, shortcut="C"),
        random=True,
        alone=STEADY,
        neutral=pair(layer(L.WideBlock, 4), layer(L.PreActivationBlock, 4)),
    ),
    "WeightStandardizedConv2D": Case(
        layer(L.WeightStandardizedConv2D, 6, 3),
        # The least variance is far from what kernels have.
        neutral=pair(
            layer(L.WeightStandardizedConv2D, 6, 3, epsilon=0.0),
            layer(L.WeightStandardizedConv2D, 6, 3),
        ),
    ),
    "WideResNet-private": Case(
        model(
            M.WideResNet,
            10,
            1,
            norm="group",
            norm_groups=4,
            activation_first=True,
            weight_standardization=True,
        )
    ),
    "ZeroPadShortcut": Case(
        layer(L.ZeroPadShortcut, 6, 2, "average"),
        neutral=pair(layer(L.ZeroPadShortcut, 4), layers.Identity),
    ),
    "DenseNet": Case(
        model(M.DenseNet, 10, 4, recompute=True, rate=0.2),
        random=True,
        alone=STEADY,
        neutral=pair(
            model(M.DenseNet, 10, 4, recompute=True), model(M.DenseNet, 10, 4)
        ),
    ),
    "MomentumCapsNet": Case(
        momentum_capsnet,
        shape=(17, 17, 4),
        data_format=False,
        free_sizes=False,
        neutral=pair(
            momentum_capsnet, lambda: momentum_capsnet(recompute=False)
        ),
    ),
    "ResNeXt": Case(
        model(M.ResNeXt, 11, 2, 2),
        alone=GROUP,
        neutral=pair(model(M.ResNeXt, 11, 1, 64), bottleneck_resnext),
    ),
    "ResNet": Case(
        model(M.ResNet, 8, survival_probability=0.5),
        random=True,
        alone=GROUP,
        neutral=pair(model(M.ResNet, 8, shortcut="none"), plain_resnet),
    ),
    "WideResNet": Case(
        model(M.WideResNet, 10, 1, rate=0.3),
        random=True,
        alone=STEADY,
        neutral=pair(
            model(M.WideResNet, 10, 1),
            model(M.ResNet, 8, preactivation=True, shortcut="B"),
        ),
    ),
}


def export_of(name: str) -> str:
    """The export that a case is about."""
    return name.partition("-")[0]


def names(**wanted) -> list[str]:
    """The cases whose settings are as wanted; all of them by default."""
    return [
        name
        for name, case in CASES.items()
        if all(getattr(case, key) == value for key, value in wanted.items())
    ]


def layer_names(**wanted) -> list[str]:
    """The cases of layers whose settings are as wanted."""
    return [
        name
        for name in names(**wanted)
        if export_of(name) in tfdeep.layers.__all__
    ]
