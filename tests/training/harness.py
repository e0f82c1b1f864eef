"""How the tests of the wrappers run a few steps, and the wrappers they run."""

import keras
import pytest

from tests.helpers import BACKEND, arrays
from tfdeep.training import (
    BatchEntropyRegularizer,
    DeepSupervision,
    Head,
    RelayBackpropagation,
)

XLA = {"jit_compile": True}
MODES = {"eager": XLA, "graph": XLA, "xla": XLA}
if BACKEND == "tensorflow":
    MODES["eager"] = {"run_eagerly": True}
    MODES["graph"] = {"jit_compile": False}
# How few steps take least time. JAX compiles: else each operation would be.
EAGER, GRAPH = MODES["eager"], MODES["graph"]


def in_modes(*names):
    """Run a test with each of these `mode`s; JAX has one."""
    names = names if BACKEND == "tensorflow" else ["xla"]
    modes = [MODES[name] for name in names]
    return pytest.mark.parametrize("mode", modes, ids=names)


def fit(model, data, epochs=1, **arguments):
    """Train on 32 samples at a time, in order; return the history."""
    arguments = {"batch_size": 32, "shuffle": False, **arguments}
    return model.fit(*data, epochs=epochs, verbose=0, **arguments).history


def logs_of(history, epoch=0):
    """The logs of one epoch."""
    return {key: values[epoch] for key, values in history.items()}


def step(model, data, **arguments):
    """Train on one batch; return the logs, and how far each weight sank.

    With SGD at rate 1 that is the gradient.
    """
    variables = model.trainable_variables
    before = arrays(variables)
    logs = logs_of(fit(model, data, **arguments))
    pairs = zip(before, arrays(variables), strict=True)
    return logs, [old - new for old, new in pairs]


def supervised(model, heads, kind=DeepSupervision, **arguments):
    """A wrapper of which the heads always start alike."""
    keras.utils.set_random_seed(3)
    return kind(model, heads, **arguments)


def relayed(model, heads, **arguments):
    return supervised(model, heads, RelayBackpropagation, **arguments)


SINGLE = {
    "entropy": lambda model: BatchEntropyRegularizer(model, alpha=1.0),
    "supervision": lambda model: supervised(
        model, {"hidden_0": Head(), "hidden_2": Head(schedule="decay")}
    ),
    "relay": lambda model: relayed(
        model, {"hidden_0": Head(), "hidden_1": Head(schedule="decay")}
    ),
}
NESTED = {
    "entropy of supervision": lambda model: BatchEntropyRegularizer(
        supervised(model, {"hidden_1": Head(alpha=0.5)}), alpha=1.0
    ),
    "supervision of entropy": lambda model: supervised(
        BatchEntropyRegularizer(model, alpha=1.0),
        {"hidden_1": Head(alpha=0.5)},
    ),
    "entropy of relay": lambda model: BatchEntropyRegularizer(
        relayed(model, {"hidden_1": Head(alpha=0.5)}), alpha=1.0
    ),
}
each_wrapper = pytest.mark.parametrize(
    "wrap", SINGLE.values(), ids=list(SINGLE)
)
