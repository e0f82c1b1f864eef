"""How the cases make layers and models, open to further arguments."""

from collections.abc import Callable

import keras
from keras import layers

import tfdeep
from tests.contract.cases.plain import SEED, branch, conv
from tfdeep.layers.seed_state import Dropout

L, M = tfdeep.layers, tfdeep.models
GROUP = {"norm": "group"}
STEADY = {"norm": "group", "rate": 0.0}


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
    elif kind not in (L.BatchEntropy, L.SparsePReLU, L.ZeroPadShortcut):
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
