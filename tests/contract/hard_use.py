"""Frozen, masked, mixed, reloaded, subclassed: where most faults were found.

    frozen      all of a layer, its normalization, or one part is frozen; from
                a file in a fresh process, or cloned, the same weights train
                and the same statistics move
    masked      a following layer reads the mask: pooling over padding, eager
                and compiled, training and inference
    mixed       half and double precision; saved under one policy and loaded
                under another it returns what it did
    reloaded    in a fresh process that knows `import tfdeep` alone
    subclassed  a subclass that overrides `call` is served right, or refused

Each takes a model; layers, models and wrappers go through all of them.
"""

import functools
import warnings

import keras
import numpy as np
from keras import layers, ops

from tests.contract.harness import (
    BACKEND,
    FEW_STEPS,
    calls_in_training,
    infer,
    train,
)
from tests.helpers import double_precision
from tfdeep.keras_internals import layers_of

FROZEN: tuple = ("all", "normalization", "part")
PRECISIONS = {
    "mixed_float16": "float32",
    "float32": "mixed_bfloat16",
    "float64": "float32",
}
if BACKEND == "jax":
    # What a file keeps is the same on both; what is double precision is not.
    FROZEN = ("normalization",)
    PRECISIONS = {"float64": "float32"}
NORMS = (layers.BatchNormalization, layers.GroupNormalization)


def parts_of(layer) -> list:
    """The layers inside a layer, the innermost first."""
    found = [each for each in layers_of(layer) if each is not layer]
    return [each for each in found[::-1] if each.weights]


def freeze(layer, what: str) -> bool:
    """Freeze all of a built layer, its normalization, or its first part.

    Returns:
        Whether there was anything to freeze.
    """
    parts = parts_of(layer)
    chosen = {
        "all": [layer] if layer.weights else [],
        "normalization": [p for p in parts if isinstance(p, NORMS)],
        "part": parts[-1:],
    }[what]
    for each in chosen:
        each.trainable = False
    return bool(chosen)


def what_trains(model, x, layers: dict) -> dict:
    """Which weights train, and which others one call in training moves.

    Args:
        model: a built model.
        x: inputs of a batch.
        layers: layers of the model by any key.

    Returns:
        For each key `{"trained": [...], "moved": [...]}`, a number, 0 or 1,
        for each weight of the layer.
    """
    trained = {id(w) for w in model.trainable_weights}
    before = {key: layer.get_weights() for key, layer in layers.items()}
    calls_in_training(model, x, 1)
    return {
        key: {
            "trained": [int(id(w) in trained) for w in layer.weights],
            "moved": [
                int(not np.array_equal(old, new))
                for old, new in zip(
                    before[key], layer.get_weights(), strict=True
                )
            ],
        }
        for key, layer in layers.items()
    }


def sequential():
    return keras.Sequential([keras.Input((None, 4)), layers.Dense(4)])


def functional():
    inputs = keras.Input((None, 4))
    x = layers.Dense(4, activation="tanh")(inputs)
    return keras.Model(inputs, layers.Dense(4)(x))


INSIDES = {
    "layer": lambda: layers.Dense(4),
    "sequential": sequential,
    "functional": functional,
}


def check_mask(make) -> None:
    """Pooling behind the layer counts no padding, however it is run.

    Args:
        make: makes a layer that hands on the mask of (batch, steps, 4).
    """
    # Keras says so of any Sequential, which hands its mask on nevertheless.
    warnings.filterwarnings("ignore", ".*does not support masking")
    x = np.random.default_rng(0).normal(size=(2, 5, 4)).astype("float32")
    x[0, 3:], x[1, 1] = 0, 0
    inputs = keras.Input((5, 4))
    y = make()(layers.Masking()(inputs))
    model = keras.Model(inputs, [y, layers.GlobalAveragePooling1D()(y)])
    kept = np.any(x != 0, axis=-1, keepdims=True)
    for training in (False, True):
        for call in _ways_to_call(model, training):
            y, pooled = call(x)
            mean = np.sum(y * kept, 1) / np.sum(kept, 1)
            np.testing.assert_allclose(
                pooled, mean, 1e-5, 1e-6, err_msg=f"training={training}"
            )


def _ways_to_call(model, training: bool) -> list:
    """The model called eagerly and compiled, returning arrays."""

    def call(x):
        return model(x, training=training)

    if BACKEND == "tensorflow":
        import tensorflow as tf

        compiled = tf.function(call)
    else:
        import jax

        trained = [v.value for v in model.trainable_variables]
        state = [v.value for v in model.non_trainable_variables]

        @jax.jit
        def compiled(x):
            return model.stateless_call(trained, state, x, training=training)[0]

    return [
        lambda x, call=each: [
            np.array(y) for y in call(ops.convert_to_tensor(x))
        ]
        for each in (call, compiled)
    ]


def check_loaded_under_another_policy(make, x, first: str, folder) -> None:
    """A file keeps its policy: outputs are what they were."""
    with double_precision():
        keras.config.set_dtype_policy(first)
        model = make()
        if first == "float64":
            x = x.astype(first)
            if BACKEND == "tensorflow":
                (loss,) = train(model, x, **FEW_STEPS)
                assert np.isfinite(loss)
        dtypes = [w.dtype for w in model.weights]
        assert first.removeprefix("mixed_float16") in ("", *dtypes)
        expected = infer(model, x)
        model.save(folder / "policy.keras")
        keras.config.set_dtype_policy(PRECISIONS[first])
        loaded = keras.models.load_model(folder / "policy.keras")
        assert [w.dtype for w in loaded.weights] == dtypes
        np.testing.assert_allclose(infer(loaded, x), expected, 1e-6, 1e-6)


def check_subclass(make, x, folder) -> None:
    """A subclass whose `call` doubles the result does so, and is saved."""
    layer = make()
    layer.build(x.shape)
    kind = twice(type(layer))
    config = layer.get_config()
    inputs = keras.Input(x.shape[1:])
    double = kind.from_config(config)
    model = keras.Model(inputs, double(inputs))
    double.set_weights(layer.get_weights())
    plain = infer(keras.Model(inputs, layer(inputs)), x)
    np.testing.assert_allclose(infer(model, x), 2 * plain, 1e-6, 1e-6)
    model.save(folder / "subclass.keras")
    loaded = keras.models.load_model(
        folder / "subclass.keras", {kind.__name__: kind}
    )
    assert type(loaded.layers[-1]) is kind
    np.testing.assert_allclose(infer(loaded, x), 2 * plain, 1e-6, 1e-6)


def twice(kind: type) -> type:
    """A subclass of a layer class that returns twice as much."""

    @functools.wraps(kind.call)  # Keras reads which arguments there are.
    def call(self, *args, **kwargs):
        return 2.0 * super(doubled, self).call(*args, **kwargs)

    doubled = type(f"Twice{kind.__name__}", (kind,), {"call": call})
    return doubled
