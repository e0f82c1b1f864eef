"""A small model around each case, data for it, and processes of their own."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
from keras import layers

from tests.contract.cases import CASES, layer_names
from tests.contract.cases.plain import SEED

ROOT = Path(__file__).resolve().parents[2]
BACKEND = keras.backend.backend()
# How a few steps take least time: no graph is traced, or all is compiled.
FEW_STEPS = {
    "run_eagerly": BACKEND == "tensorflow",
    "jit_compile": BACKEND == "jax",
}
HAS_TENSORFLOW = importlib.util.find_spec("tensorflow") is not None
# The extra `privacy`, which is for Python 3.11.
HAS_TF_PRIVACY = importlib.util.find_spec("tensorflow_privacy") is not None


def build(name: str, /, **kwargs):
    """The layer or model of a case."""
    return CASES[name].make(**kwargs)


def around(thing, inputs, name: str = ""):
    """Three numbers per sample, with a weight below and above the layer.

    The weight below moves in training only if the gradient crosses the
    layer. Of a model these are its own outputs.
    """
    if isinstance(thing, keras.Model) and thing.built:
        return thing(inputs)
    x = layers.Dense(
        inputs.shape[-1],
        use_bias=False,
        kernel_initializer=keras.initializers.GlorotUniform(SEED),
        name=f"{name}below",
    )(inputs)
    x = thing(x)
    if len(x.shape) == 4:
        x = layers.GlobalAveragePooling2D()(x)
    elif len(x.shape) == 3:
        x = layers.GlobalAveragePooling1D()(x)
    return layers.Dense(
        3,
        kernel_initializer=keras.initializers.GlorotUniform(SEED + 1),
        # Accuracy of a loss in half precision is not what is tested here.
        dtype="float32",
        name=f"{name}above",
    )(x)


def wrap(thing, shape) -> keras.Model:
    """A regression model around a layer. A built model passes unchanged."""
    if isinstance(thing, keras.Model) and thing.built:
        return thing
    inputs = keras.Input(shape)
    return keras.Model(inputs, around(thing, inputs))


def model_of(name: str, /, free_sizes: bool = False, **kwargs) -> keras.Model:
    """The model of a case; `free_sizes` leaves height and width unknown."""
    shape = CASES[name].shape
    if free_sizes:
        shape = (None, None, shape[-1])
    if name in layer_names():
        return wrap(build(name, **kwargs), shape)
    return build(name, input_shape=shape, **kwargs)


def images(name: str, count: int = 2, seed: int = 0, sizes=None):
    """Random inputs of a case, the same for equal arguments."""
    shape = CASES[name].shape
    shape = (count, *(sizes or shape[:-1]), shape[-1])
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def targets(count: int = 2):
    """Regression targets for `count` samples."""
    return np.random.default_rng(1).normal(size=(count, 3)).astype("float32")


def train(model, x, epochs=1, batch_size=2, compiled=True, **kwargs) -> list:
    """Fit on batches in order; return the loss of each epoch."""
    if compiled:
        kwargs.setdefault("jit_compile", BACKEND == "jax")
        optimizer = keras.optimizers.SGD(0.001, momentum=0.9)
        model.compile(optimizer, "mse", **kwargs)
    history = model.fit(
        x,
        targets(len(x)),
        batch_size=batch_size,
        epochs=epochs,
        shuffle=False,
        verbose=0,
    )
    return history.history["loss"]


def infer(model, x):
    """What the model returns at inference, as an array in float32.

    One call: TensorFlow runs it as it is, JAX would compile each operation.
    """
    if BACKEND == "jax":
        y = model.predict(x, batch_size=len(x), verbose=0)
    else:
        y = model(x, training=False)
    return np.array(keras.ops.cast(y, "float32"))


def calls_in_training(model, x, count: int) -> list:
    """Outputs of calls in training, one after the other.

    TensorFlow runs each as it is; JAX compiles one and repeats it.
    """
    if BACKEND != "jax":
        return [
            keras.tree.map_structure(np.array, model(x, training=True))
            for _ in range(count)
        ]
    import jax

    call = jax.jit(lambda *args: model.stateless_call(*args, training=True))
    trained = [v.value for v in model.trainable_variables]
    state = [v.value for v in model.non_trainable_variables]
    outputs = []
    for _ in range(count):
        y, state = call(trained, state, x)
        outputs.append(keras.tree.map_structure(np.array, y))
    for variable, value in zip(
        model.non_trainable_variables, state, strict=True
    ):
        variable.assign(value)
    return outputs


def disturb(model, seed: int = 0) -> None:
    """Move every weight off its initial value, variances staying positive."""
    random = np.random.default_rng(seed)
    model.set_weights(
        [w + random.uniform(0, 0.2, w.shape) for w in model.get_weights()]
    )


def values(model) -> list:
    """The weights of a model, states of random streams left out."""
    return [np.array(w) for w in model.get_weights()]


def assert_all_close(actual, expected, tolerance: float) -> None:
    """Compare two lists of arrays of the same length."""
    for one, other in zip(actual, expected, strict=True):
        np.testing.assert_allclose(one, other, tolerance, tolerance)


def run_child(
    command: str, *arguments, xla_flags: str = "", **variables: str
) -> None:
    """Run a command of `child.py` in a fresh process on the same backend.

    Args:
        command: the name of the command.
        *arguments: what it is given.
        xla_flags: more of these.
        **variables: more variables of the environment.
    """
    flags = f"{os.environ.get('XLA_FLAGS', '')} {xla_flags}".strip()
    settings = {
        "KERAS_BACKEND": BACKEND,
        "PYTHONPATH": str(ROOT),
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "XLA_FLAGS": flags,
        **variables,
    }
    result = subprocess.run(
        [
            *(sys.executable, "-m", "tests.contract.child", command),
            *map(str, arguments),
        ],
        cwd=ROOT,
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
    )
    if result.returncode:
        raise AssertionError(f"{command} failed:\n{result.stderr[-3000:]}")
