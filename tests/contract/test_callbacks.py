"""What every callback passes.

a guest     training with it ends where training without it does, eager,
            as a graph and by XLA; what it logs are numbers
afterwards  the model is saved, loads without the callback, trains again
            with the same one, and stands if training was stopped
files       two runs write their own
"""

import keras
import numpy as np
import pytest

from tests.contract.exports import exports_of
from tests.contract.hard_models import SHAPE, batch_norm, net
from tests.contract.harness import BACKEND, targets
from tfdeep.callbacks import (
    BatchEntropyMonitor,
    LinearizationScheduler,
    PruningScheduler,
    TaylorPruningScheduler,
)
from tfdeep.layers import SparsePReLU
from tfdeep.pruning import Magnitude, TaylorPruning

X = np.random.default_rng(0).normal(size=(8, *SHAPE)).astype("float32")
Y = targets(8)


def frozen_units():
    """A net with units that are held, as the scheduler holds them."""
    model = keras.Sequential([net(batch_norm), SparsePReLU(name="unit")])
    model.layers[-1].freeze()
    return model


# The keys that each logs, and the model that it is a guest of.
CALLBACKS = {
    "BatchEntropyMonitor": (
        lambda: BatchEntropyMonitor(X, verbose=0),
        {"entropy", "entropy/hidden"},
        lambda: net(batch_norm),
    ),
    "LinearizationScheduler": (
        lambda: LinearizationScheduler(5, 6, 0.1),
        {"active_units", "active_units/unit", "path_length"},
        frozen_units,
    ),
    "PruningScheduler": (
        lambda: PruningScheduler(Magnitude(), lambda epoch: 0.0),
        {"pruned_channels", "channels/hidden"},
        lambda: net(batch_norm),
    ),
    "TaylorPruningScheduler": (
        TaylorPruningScheduler,
        {"pruned_channels", "channels/low"},
        lambda: net(batch_norm),
    ),
}
each_callback = pytest.mark.parametrize("name", CALLBACKS)
MODES = {"eager": {"run_eagerly": True, "jit_compile": False}}
MODES["graph"], MODES["xla"] = {"jit_compile": False}, {"jit_compile": True}
if BACKEND == "jax":
    MODES = {"xla": {"jit_compile": True}}


class Stop(keras.callbacks.Callback):
    """Ends training after the first batch."""

    def on_train_batch_end(self, batch, logs=None):
        self.model.stop_training = True


def optimizer_for(name, model):
    sgd = keras.optimizers.SGD(0.1)
    if name == "TaylorPruningScheduler":
        return TaylorPruning(sgd, model, channels=0)
    return sgd


def compiled(name, **mode):
    model = CALLBACKS[name][2]()
    model.compile(optimizer_for(name, model), "mse", **mode)
    return model


def fit(model, callbacks, epochs=2):
    history = model.fit(
        *(X, Y, 4),
        epochs=epochs,
        callbacks=callbacks,
        shuffle=False,
        verbose=0,
    )
    return model, history.history


def test_every_callback_has_a_case():
    names = {name.rpartition(".")[2] for name in exports_of("callback")}
    assert names == set(CALLBACKS)


@each_callback
@pytest.mark.parametrize("mode", MODES)
def test_a_guest(name, mode):
    make, keys, _ = CALLBACKS[name]
    plain, without = fit(compiled(name, **MODES[mode]), [])
    model, logs = fit(compiled(name, **MODES[mode]), [make()])
    assert keys <= set(logs)
    assert all(isinstance(v, float) for key in keys for v in logs[key])
    assert logs["loss"] == pytest.approx(without["loss"], rel=1e-6)
    pairs = zip(model.get_weights(), plain.get_weights(), strict=True)
    for one, other in pairs:
        np.testing.assert_allclose(one, other, 1e-6, 1e-6)


@each_callback
def test_afterwards(name, tmp_path):
    callback = CALLBACKS[name][0]()
    model = compiled(name, jit_compile=BACKEND == "jax")
    fit(model, [callback, Stop()])
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    expected = model.predict(X, verbose=0)
    np.testing.assert_array_equal(loaded.predict(X, verbose=0), expected)
    _, logs = fit(model, [callback], epochs=1)
    assert CALLBACKS[name][1] <= set(logs)
