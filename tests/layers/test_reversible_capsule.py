"""The stack of capsule blocks against plain layers one after the other."""

import keras
import numpy as np
import pytest
from keras import ops

from tests.helpers import (
    BACKEND,
    copy_weights,
    flat,
    gradients,
    images,
    reference_gradients,
)
from tfdeep.layers import ReversibleCapsule

MODES = {"tensorflow": [False, True, "xla"], "jax": [True]}[BACKEND]


def capsules(count=4, **kwargs):
    layer = ReversibleCapsule(5, 3, count, seed=1, **kwargs)
    layer.build((None, 5, 3))
    rng = np.random.default_rng(0)
    for weight in layer.weights:
        weight.assign(rng.normal(size=weight.shape))
    return layer


def error(ours, theirs):
    return max(
        np.linalg.norm(a - b) / np.linalg.norm(b)
        for a, b in zip(ours, theirs, strict=True)
    )


@pytest.mark.parametrize("compiled", MODES)
@pytest.mark.parametrize("every", [1, 3, "auto"])
@pytest.mark.parametrize("routing", ["dynamic", "sda"])
def test_gradients_in_double_precision(routing, every, compiled, float64):
    ours = capsules(checkpoint_every=every, routing=routing)
    plain = capsules(recompute=False, routing=routing)
    copy_weights(ours, plain)
    x = images(3, 5, 3).astype("float64")
    results = [
        flat(gradients(layer, x, compiled, training=True))
        for layer in (ours, plain)
    ]
    assert error(*results) <= 1e-12


@pytest.mark.parametrize("scale", [0.2, 0.5])
@pytest.mark.parametrize("routing", ["dynamic", "sda"])
def test_gradients_of_a_hundred_blocks_in_single_precision(routing, scale):
    settings = {"count": 100, "routing": routing}
    ours, plain = (capsules(recompute=r, **settings) for r in (True, False))
    rng = np.random.default_rng(0)
    for weight in ours.trainable_variables:
        weight.assign(scale * rng.normal(size=weight.shape))
    copy_weights(ours, plain)
    # Parts as long as each other.
    assert ours.every == {"tensorflow": 50, "jax": 34}[BACKEND]
    x = images(3, 5, 3)
    results = [
        flat(gradients(layer, x, True, training=True))
        for layer in (ours, plain)
    ]
    assert error(*results) < 1e-4


@pytest.mark.parametrize("routing", ["dynamic", "sda"])
def test_equals_plain_layers(routing):
    layer = capsules(gamma=0.7, routing=routing)
    blocks = layer.copies()

    def net(x):
        v = 0.0
        for first, second in blocks:
            v = 0.7 * v + 0.3 * second(first(x))
            x = x + v
        return x

    x = images(3, 5, 3)
    y, dx, _ = gradients(layer, x, training=True)
    expected, (gradient,) = reference_gradients(net, x)
    np.testing.assert_allclose(y, expected, 1e-5, 1e-5)
    np.testing.assert_allclose(dx, gradient, 1e-3, 1e-4)
    np.testing.assert_allclose(layer(x), expected, 1e-5, 1e-5)


def test_a_hundred_blocks_in_single_precision():
    ours, plain = capsules(100), capsules(100, recompute=False)
    copy_weights(ours, plain)
    x = images(16, 5, 3)
    found = [gradients(layer, x, training=True) for layer in (ours, plain)]
    whole = [np.concatenate([g.ravel() for g in r[2]]) for r in found]
    difference = np.linalg.norm(whole[0] - whole[1])
    assert difference / np.linalg.norm(whole[1]) < 1e-4


def test_weights_of_blocks_are_drawn_one_by_one():
    layer, twin = (ReversibleCapsule(5, 3, 4, seed=1) for _ in range(2))
    for each in (layer, twin):
        each.build((None, 5, 3))
    kernels = np.concatenate([np.array(w) for w in layer.weights])
    assert len({k.tobytes() for k in kernels}) == 8
    np.testing.assert_allclose(kernels.std(), 0.01, 0.1)
    np.testing.assert_array_equal(layer.kernel_2, twin.kernel_2)
    assert layer.count_params() == 2 * 4 * 5 * 5 * 3 * 3


def test_gamma_one_is_the_identity():
    layer, x = capsules(gamma=1.0), images(2, 5, 3)
    np.testing.assert_array_equal(layer(x, training=True), x)


def test_resumed_training_goes_on_as_it_would_have(tmp_path):
    def fit(model, epochs):
        x, y = images(8, 5, 3), images(8, 5, 3, seed=1)
        model.fit(x, y, 4, epochs, shuffle=False, verbose=0)

    model = keras.Sequential(
        [keras.Input((5, 3)), ReversibleCapsule(5, 3, 12, seed=1)]
    )
    model.compile("adam", "mse")
    fit(model, 2)
    model.save(tmp_path / "half.keras")
    fit(model, 2)
    resumed = keras.models.load_model(tmp_path / "half.keras")
    fit(resumed, 2)
    for a, b in zip(resumed.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"gamma": 0}, "`gamma` came as"),
        ({"gamma": 1.1, "recompute": False}, "`gamma` came as"),
        ({"num_blocks": 0}, "num_blocks"),
        ({"num_capsules": "5"}, "num_capsules"),
        ({"routing": "em"}, "routing"),
        ({"seed": -1}, "seed"),
        ({"num_blocks": 80, "checkpoint_every": None}, "up to .. blocks"),
    ],
)
def test_bad_arguments(arguments, message):
    settings = {"num_capsules": 5, "capsule_dim": 3, "num_blocks": 2}
    with pytest.raises(ValueError, match=message):
        ReversibleCapsule(**{**settings, **arguments})


def test_bad_inputs():
    layer = ReversibleCapsule(5, 3, 2)
    for shape in ((2, 4, 3), (2, 5), (2, None, 3)):
        with pytest.raises(ValueError, match="came with an input of shape"):
            layer.build(shape)
    with pytest.raises(ValueError, match="tensor of int32"):
        layer(ops.ones((2, 5, 3), "int32"))
