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
    PruningScheduler,
    TaylorPruningScheduler,
)
from tfdeep.pruning import Magnitude, TaylorPruning

X = np.random.default_rng(0).normal(size=(8, *SHAPE)).astype("float32")
Y = targets(8)
# With the keys that each logs.
CALLBACKS = {
    "BatchEntropyMonitor": (
        lambda: BatchEntropyMonitor(X, verbose=0),
        {"entropy", "entropy/hidden"},
    ),
    "PruningScheduler": (
        lambda: PruningScheduler(Magnitude(), lambda epoch: 0.0),
        {"pruned_channels", "channels/hidden"},
    ),
    "TaylorPruningScheduler": (
        TaylorPruningScheduler,
        {"pruned_channels", "channels/low"},
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


def fit(callbacks, epochs=2, model=None, **mode):
    if model is None:
        model = net(batch_norm)
        optimizer = TaylorPruning(keras.optimizers.SGD(0.1), model, channels=0)
        model.compile(optimizer, "mse", **mode)
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
    make, keys = CALLBACKS[name]
    plain, without = fit([], **MODES[mode])
    model, logs = fit([make()], **MODES[mode])
    assert keys <= set(logs)
    assert all(isinstance(v, float) for key in keys for v in logs[key])
    assert logs["loss"] == pytest.approx(without["loss"], rel=1e-6)
    pairs = zip(model.get_weights(), plain.get_weights(), strict=True)
    for one, other in pairs:
        np.testing.assert_allclose(one, other, 1e-6, 1e-6)


@each_callback
def test_afterwards(name, tmp_path):
    callback = CALLBACKS[name][0]()
    model, _ = fit([callback, Stop()], jit_compile=BACKEND == "jax")
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    expected = model.predict(X, verbose=0)
    np.testing.assert_array_equal(loaded.predict(X, verbose=0), expected)
    _, logs = fit([callback], epochs=1, model=model)
    assert CALLBACKS[name][1] <= set(logs)
