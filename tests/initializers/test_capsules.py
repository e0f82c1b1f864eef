"""AutoInit and GradInit of capsules and reversible chains."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from tests.helpers import arrays, images
from tfdeep.initializers import AutoInit, GradInit
from tfdeep.layers import (
    CapsuleMask,
    PrimaryCapsules,
    Recompute,
    ReversibleCapsule,
    ReversibleStack,
    RoutingCapsules,
)
from tfdeep.layers.routing import votes


def net(*parts):
    return keras.Sequential([keras.Input((12, 12, 4)), *parts])


def capsules(blocks=3, **kwargs):
    return net(
        PrimaryCapsules(8, 4, 3),
        RoutingCapsules(6, 4),
        ReversibleCapsule(6, 4, blocks, **kwargs),
        RoutingCapsules(3, 8),
    )


def test_sums_before_the_squash_have_the_variance():
    model = net(PrimaryCapsules(8, 4, 3), RoutingCapsules(10, 16))
    x = images(64, 12, 12, 4)
    AutoInit(seed=0).initialize_model(model)
    primary, routing = model.layers
    u_hat = votes(primary(x), ops.convert_to_tensor(routing.kernel))
    s = np.array(u_hat).sum(axis=2) / 10
    assert np.mean(s**2) == pytest.approx(1.0, rel=0.2)


def test_every_block_is_drawn_and_keeps_the_signal():
    model = capsules(20)
    before = arrays(model.layers[2].weights)
    AutoInit(seed=0).initialize_model(model)
    kernels = arrays(model.layers[2].weights)
    for old, new in zip(before, kernels, strict=True):
        deviations = new.std((1, 2, 3, 4))
        assert np.all(deviations > 10 * old.std())
    y = model.predict(images(32, 12, 12, 4), verbose=0)
    assert np.linalg.norm(y, axis=-1).mean() > 0.1


def test_a_mask_of_capsules_is_measured():
    """Outputs of the layer after it have the variance, over many draws."""
    model = net(
        PrimaryCapsules(8, 4, 3),
        RoutingCapsules(6, 8),
        CapsuleMask(),
        layers.Dense(64),
    )
    init = AutoInit(seed=0)
    init.initialize_model(model, strict=True)
    assert init.report.records[-1].second == pytest.approx(1.0)
    verified = init.report.verify(images(32, 12, 12, 4), draws=4)
    assert verified.measured[-1] == pytest.approx(1.0, rel=0.3)


@pytest.mark.parametrize("coupling", ["momentum", "additive"])
def test_blocks_of_a_reversible_stack_are_drawn(coupling):
    filters = 2 if coupling == "additive" else 4
    blocks = [
        layers.Conv2D(filters, 3, padding="same", activation="relu")
        for _ in range(3)
    ]
    model = net(ReversibleStack(blocks, coupling), Recompute(layers.Dense(4)))
    before = arrays(model.trainable_variables)
    init = AutoInit(seed=0)
    init.initialize_model(model)
    after = arrays(model.trainable_variables)
    moved = [np.any(a != b) for a, b in zip(before, after, strict=True)]
    assert moved == [True, False] * 4
    assert {r.layer for r in init.report.records} >= {"Conv2D", "Dense"}


@pytest.mark.slow
def test_grad_init_runs_through_capsules():
    model = net(
        PrimaryCapsules(8, 4, 3),
        RoutingCapsules(6, 4),
        ReversibleCapsule(6, 4, 2),
        layers.Flatten(),
        layers.Dense(3),
    )
    x, y = images(8, 12, 12, 4), np.arange(8) % 3
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    before = arrays(model.trainable_variables)
    GradInit(iterations=2, seed=0, verbose=0).initialize_model(
        model, (x, y), loss, batch_size=4
    )
    after = arrays(model.trainable_variables)
    assert all(np.isfinite(a).all() for a in after)
    assert any(np.any(a != b) for a, b in zip(before, after, strict=True))
