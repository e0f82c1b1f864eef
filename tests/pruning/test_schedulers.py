"""Callbacks that take channels: when, how many, and what is said of it."""

import keras
import numpy as np
import pytest

from tests.pruning.test_taylor_pruning import X, Y, held, net, pruning
from tfdeep.callbacks import PruningScheduler, TaylorPruningScheduler
from tfdeep.pruning import Magnitude, Taylor


def fit(model, callback, epochs=4, **kwargs):
    return model.fit(
        *(X, Y),
        batch_size=8,
        epochs=epochs,
        verbose=0,
        callbacks=[callback],
        **kwargs,
    ).history


def taylor(**changes):
    model = net()
    changes = {"frequency": 2, "channels_per_step": 1, **changes}
    model.compile(pruning(model, **changes), "mse")
    return model


@pytest.mark.parametrize(
    ("settings", "pruned"),
    [
        ({}, [1, 2, 3, 4]),
        ({"start": 1, "stop": 3}, [0, 1, 2, 2]),
        ({"max_loss": 1e9}, [1, 2, 3, 4]),
        ({"max_loss": 0.0}, [1, 1, 1, 1]),
    ],
)
def test_channels_go_in_the_epochs_that_are_named(settings, pruned):
    model, scheduler = taylor(), TaylorPruningScheduler(**settings)
    logs = fit(model, scheduler)
    assert logs["pruned_channels"] == pruned
    widths = [
        a + b
        for a, b in zip(
            logs["channels/stem"], logs["channels/inner"], strict=True
        )
    ]
    assert widths == [11 - each for each in pruned]
    assert [e["pruned_channels"] for e in scheduler.history] == pruned
    assert scheduler.history[-1]["widths"] == model.optimizer.widths()
    held(model, model.optimizer)


def test_it_finds_the_optimizer_in_a_scaled_one():
    model = net()
    inner = pruning(model, frequency=2, channels_per_step=1)
    model.compile(keras.optimizers.LossScaleOptimizer(inner), "mse")
    scheduler = TaylorPruningScheduler(start=1)
    assert fit(model, scheduler, 2)["pruned_channels"] == [0, 1]
    assert [e["enabled"] for e in scheduler.history] == [False, True]


@pytest.mark.parametrize("criterion", [Magnitude(), Taylor()])
def test_channels_are_masked_after_each_epoch(criterion):
    model = net()
    adam = keras.optimizers.Adam(0.01, use_ema=True)
    model.compile(adam, "mse")
    scheduler = PruningScheduler(
        criterion, lambda epoch: 0.2 * epoch, X, Y, min_channels=2
    )
    logs = fit(model, scheduler, 3)
    assert logs["pruned_channels"] == [0, 3, 5]
    inner = [logs[f"channels/{name}"][-1] for name in ("stem", "inner")]
    assert sum(inner) == 6
    # The averages of Adam have taken the place of weights since.
    small = scheduler.plan.compact(model)
    np.testing.assert_allclose(small(X), model(X), 1e-4, 1e-5)


def test_what_is_refused():
    model = net()
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match="compiled with a TaylorPruning"):
        fit(model, TaylorPruningScheduler())
    for wrong in ({"start": -1}, {"stop": 0, "start": 2}, {"max_loss": "a"}):
        with pytest.raises(ValueError, match="`(start|stop|max_loss)`"):
            TaylorPruningScheduler(**wrong)
    with pytest.raises(TypeError, match="`criterion`"):
        PruningScheduler("magnitude", lambda epoch: 0.5)
    with pytest.raises(TypeError, match="`schedule`"):
        PruningScheduler(Magnitude(), 0.5)
    with pytest.raises(ValueError, match="`ratio`"):
        fit(model, PruningScheduler(Magnitude(), lambda epoch: 2.0))
