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
    randomize,
    reference_gradients,
    training_step,
)
from tests.layers.chains import error, whole_error
from tfdeep.layers import ReversibleCapsule, ReversibleStack

every_routing = pytest.mark.parametrize("routing", ["dynamic", "sda"])


def capsules(count=4, **kwargs):
    layer = ReversibleCapsule(5, 3, count, seed=1, **kwargs)
    layer.build((None, 5, 3))
    rng = np.random.default_rng(0)
    for weight in layer.weights:
        weight.assign(rng.normal(size=weight.shape))
    return layer


@pytest.mark.parametrize(
    ("routing", "every", "compiled"),
    [
        ("dynamic", 1, None),
        ("dynamic", 3, None),
        ("dynamic", "auto", None),
        ("sda", 3, None),
        pytest.param(
            "dynamic",
            3,
            "xla",
            # On JAX the others are compiled.
            marks=[pytest.mark.tensorflow, pytest.mark.slow],
        ),
    ],
)
def test_gradients_in_double_precision(routing, every, compiled, float64):
    ours = capsules(checkpoint_every=every, routing=routing)
    plain = capsules(recompute=False, routing=routing)
    x = images(3, 5, 3).astype("float64")
    results = [
        flat(gradients(layer, x, mode, training=True))
        for layer, mode in ((ours, compiled), (plain, None))
    ]
    assert error(*results) <= 1e-12


@pytest.mark.slow
@every_routing
def test_gradients_of_a_hundred_layers_in_single_precision(routing):
    ours, plain = (
        capsules(50, recompute=recompute, routing=routing)
        for recompute in (True, False)
    )
    # Parts as long as each other.
    assert ours.every == {"tensorflow": 50, "jax": 34}[BACKEND]
    steps = [training_step(layer, training=True) for layer in (ours, plain)]
    x = images(16, 5, 3)
    # At scale 1 some gradients are too small for an error of their own.
    for scale, difference in (
        (1.0, whole_error),
        (0.2, error),
        (0.5, error),
    ):
        rng = np.random.default_rng(0)
        for weight in ours.trainable_variables:
            weight.assign(scale * rng.normal(size=weight.shape))
        copy_weights(ours, plain)
        assert difference(*(flat(step(x)) for step in steps)) < 1e-4


@every_routing
def test_equals_plain_layers(routing):
    layer = capsules(gamma=0.7, routing=routing)
    steps = layer.copies()

    def net(x):
        v = 0.0
        for (routed,) in steps:
            v = 0.7 * v + 0.3 * routed(x)
            x = x + v
        return x

    x = images(3, 5, 3)
    y, dx, _ = gradients(layer, x, training=True)
    expected, (gradient,) = reference_gradients(net, x)
    np.testing.assert_allclose(y, expected, 1e-5, 1e-5)
    np.testing.assert_allclose(dx, gradient, 1e-3, 1e-4)
    np.testing.assert_allclose(layer(x), expected, 1e-5, 1e-5)


@pytest.mark.parametrize("gamma", [0.5, 0.9, 1.0])
def test_equals_a_stack_of_its_routing_layers(gamma, float64):
    """Of which `test_coupling.py` says that it is the authors' momentum."""
    layer = capsules(3, gamma=gamma)
    parts = [part for step in layer.copies() for part in step]
    assert len(parts) == 6
    stack = ReversibleStack(parts, gamma=gamma)
    x = images(3, 5, 3).astype("float64")
    y, dx, (kernels,) = gradients(layer, x, training=True)
    expected, gradient, parts = gradients(stack, x, training=True)
    assert (
        error([y, dx, kernels], [expected, gradient, np.array(parts)]) < 1e-12
    )


def test_short_capsules_get_further_and_every_kernel_learns():
    """A skip around two layers adds 1e-12 and has gradients of 1e-18."""
    x = 0.1 * images(4, 32, 8)
    layer = ReversibleCapsule(32, 8, 3, seed=1)
    y, _, (kernels,) = gradients(layer, x, training=True)
    assert 1e-6 < np.abs(y - x).max() < 1e-3
    assert np.abs(kernels).max((1, 2, 3, 4)).min() > 1e-10


def test_files_without_a_version_have_a_skip_around_two_layers():
    config = ReversibleCapsule(5, 3, 4, gamma=0.7, seed=1).get_config()
    assert config.pop("version") == 2
    layer = ReversibleCapsule.from_config(config)
    assert (layer.num_steps, layer.get_config()["version"]) == (4, 1)
    layer = ReversibleCapsule.from_config(layer.get_config())
    layer.build((None, 5, 3))
    assert [w.shape for w in layer.weights] == [(4, 5, 5, 3, 3)] * 2
    randomize(layer)
    x = images(3, 5, 3)
    y, v = x, 0.0
    for first, second in layer.copies():
        v = 0.7 * v + 0.3 * second(first(y))
        y = y + v
    np.testing.assert_allclose(layer(x, training=True), y, 1e-5, 1e-5)


def test_weights_of_old_files_are_refused(tmp_path):
    layer = ReversibleCapsule(5, 3, 4)
    config = {**layer.get_config(), "version": 1}
    path = tmp_path / "old.weights.h5"
    first, model = (
        keras.Sequential([keras.Input((5, 3)), each])
        for each in (ReversibleCapsule.from_config(config), layer)
    )
    first.save_weights(path)
    with pytest.raises(ValueError, match="expected 1 variables, but received"):
        model.load_weights(path)


def test_weights_of_blocks_are_drawn_one_by_one():
    layer, twin = (ReversibleCapsule(5, 3, 4, seed=1) for _ in range(2))
    for each in (layer, twin):
        each.build((None, 5, 3))
    kernels = np.concatenate([np.array(w) for w in layer.weights])
    assert len({k.tobytes() for k in kernels}) == 8
    np.testing.assert_allclose(kernels.std(), 0.01, 0.1)
    np.testing.assert_array_equal(layer.kernel, twin.kernel)
    assert layer.count_params() == 2 * 4 * 5 * 5 * 3 * 3


def test_gamma_one_is_the_identity():
    layer, x = capsules(gamma=1.0), images(2, 5, 3)
    np.testing.assert_array_equal(layer(x, training=True), x)


def test_resumed_training_goes_on_as_it_would_have(tmp_path):
    def fit(model):
        x, y = images(8, 5, 3), images(8, 5, 3, seed=1)
        model.fit(x, y, 4, shuffle=False, verbose=0)

    model = keras.Sequential(
        [keras.Input((5, 3)), ReversibleCapsule(5, 3, 4, seed=1)]
    )
    model.compile("adam", "mse", run_eagerly=BACKEND == "tensorflow")
    fit(model)
    model.save(tmp_path / "half.keras")
    fit(model)
    resumed = keras.models.load_model(tmp_path / "half.keras")
    fit(resumed)
    for a, b in zip(resumed.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"gamma": 0}, "Received: gamma="),
        ({"gamma": 1.1, "recompute": False}, "Received: gamma="),
        ({"num_blocks": 0}, "num_blocks"),
        ({"num_capsules": "5"}, "num_capsules"),
        ({"routing": "em"}, "routing"),
        ({"seed": -1}, "seed"),
        ({"num_blocks": 40, "checkpoint_every": None}, "up to .. blocks"),
    ],
)
def test_bad_arguments(arguments, message):
    settings = {"num_capsules": 5, "capsule_dim": 3, "num_blocks": 2}
    with pytest.raises(ValueError, match=message):
        ReversibleCapsule(**{**settings, **arguments})


def test_bad_inputs():
    layer = ReversibleCapsule(5, 3, 2)
    for shape in ((2, 4, 3), (2, 5), (2, None, 3)):
        with pytest.raises(
            ValueError, match="The input of Rever.*must be.*shape"
        ):
            layer.build(shape)
    with pytest.raises(ValueError, match="Received: int32"):
        layer(ops.ones((2, 5, 3), "int32"))
