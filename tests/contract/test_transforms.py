"""What every transform of a built model passes.

in place    AutoInit and GradInit: the same model comes back; frozen
            weights, configuration and optimizer stay as they are; equal
            seeds give equal weights; weights stay finite
a new one   prune, stack, unstack, replace, replace_batch_norm, linearize,
            fold_linear, capsule_classifier, add_stochastic_depth,
            add_drop_path, remove_stochastic_depth: the given model keeps its
            weights and its configuration; the new one is saved and loads in
            a fresh process; where nothing is to be changed it returns what
            the given one does
frozen      what was frozen stays so
refused     what is no model ends in a TypeError or ValueError
"""

import contextlib

import keras
import numpy as np
import pytest
from keras import layers

import tfdeep
from tests.contract.expected import failing
from tests.contract.exports import exports_of
from tests.contract.hard_models import HARD_MODELS, SHAPE, batch_norm, net
from tests.contract.harness import BACKEND, targets
from tfdeep.linearization import fold_linear, linearize
from tfdeep.models import (
    add_drop_path,
    add_stochastic_depth,
    remove_stochastic_depth,
    replace,
    stack,
    unstack,
)
from tfdeep.privacy import replace_batch_norm
from tfdeep.pruning import prune

X = np.random.default_rng(0).normal(size=(16, *SHAPE)).astype("float32")
IMAGES = np.random.default_rng(0).normal(size=(2, 6, 6, 4)).astype("float32")


def auto_init(model, seed=0):
    return tfdeep.AutoInit(seed=seed).initialize_model(model)


def grad_init(model, seed=0):
    init = tfdeep.initializers.GradInit(iterations=2, verbose=0, seed=seed)
    return init.initialize_model(model, (X, targets(len(X))), "mse", 8)


IN_PLACE = {"AutoInit": auto_init, "GradInit": grad_init}


def blocks() -> keras.Model:
    """Three equal blocks with a normalization each."""
    return keras.Sequential(
        [
            keras.Input((6, 6, 4)),
            *[tfdeep.layers.BasicBlock(4, seed=index) for index in range(3)],
        ]
    )


def repeated() -> keras.Model:
    block = tfdeep.layers.BasicBlock(4, seed=0)
    return keras.Sequential(
        [keras.Input((6, 6, 4)), tfdeep.layers.Repeat(block, 3)]
    )


def residual() -> keras.Model:
    """A branch with a normalization, and drop path of its own."""
    x = inputs = keras.Input((6, 6, 4))
    for number in (1, 2):
        y = layers.Conv2D(4, 3, padding="same", name=f"conv{number}")(x)
        y = layers.BatchNormalization(name=f"norm{number}")(y)
        y = layers.Dropout(0.2, (None, 1, 1, 1), name=f"drop{number}")(y)
        x = layers.Add(name=f"sum{number}")([x, y])
    return keras.Model(inputs, x)


def skipping() -> keras.Model:
    return add_stochastic_depth(residual(), seed=0)


def normalized() -> keras.Model:
    return keras.Sequential(
        [
            keras.Input((6, 6, 4)),
            layers.Conv2D(4, 3, name="first"),
            layers.BatchNormalization(),
            layers.Conv2D(2, 3, name="second"),
        ]
    )


def rectified() -> keras.Model:
    return keras.Sequential(
        [
            keras.Input((6, 6, 4)),
            tfdeep.layers.BasicBlock(4, seed=0),
            layers.Conv2D(4, 3, activation="relu"),
        ]
    )


def in_a_row() -> keras.Model:
    return keras.Sequential(
        [
            keras.Input((6, 6, 4)),
            layers.Conv2D(16, 3),
            layers.BatchNormalization(),
            layers.Conv2D(4, 1),
        ]
    )


def unnormalized() -> keras.Model:
    return keras.Sequential(
        [keras.Input((6, 6, 4)), layers.Conv2D(4, 3, name="first")]
    )


def capsules() -> keras.Model:
    return tfdeep.models.MomentumCapsNet(
        1,
        input_shape=(17, 17, 1),
        filters=8,
        num_capsules=5,
        capsule_dim=4,
        classes=3,
        seed=0,
    )


def other_convolutions(model):
    """The model with new convolutions of the same arguments and weights."""
    return replace(model, {layers.Conv2D: layers.Conv2D})


# Of each that makes a new model: a model to change, and one that it returns
# unchanged in what it computes.
NEW = {
    "prune": (prune, normalized, unnormalized),
    "replace": (other_convolutions, normalized, normalized),
    "stack": (stack, blocks, blocks),
    "unstack": (unstack, repeated, repeated),
    "replace_batch_norm": (replace_batch_norm, normalized, unnormalized),
    "add_stochastic_depth": (add_stochastic_depth, residual, None),
    "add_drop_path": (add_drop_path, residual, None),
    "remove_stochastic_depth": (remove_stochastic_depth, skipping, normalized),
    "linearize": (linearize, rectified, rectified),
    "fold_linear": (fold_linear, in_a_row, unnormalized),
    "capsule_classifier": (tfdeep.models.capsule_classifier, capsules, None),
}


def changed_convolutions(model):
    """The model with other convolutions, of the same arguments and weights."""
    return replace(model, {layers.Conv2D: layers.Conv2D})


def files() -> dict:
    """Models made by a transform for a fresh process to load, and an input."""
    models = {name: make(model()) for name, (make, model, _) in NEW.items()}
    return {
        name: (model, np.ones((2, *model.input_shape[1:]), "float32"))
        for name, model in models.items()
    }


each_in_place = pytest.mark.parametrize("name", IN_PLACE)
each_new = pytest.mark.parametrize("name", NEW)
HARD = ["ordinary", "frozen", "masked", "reloaded", "subclassed", "by hand"]
if BACKEND == "jax":  # Two steps of second order are compiled for each.
    HARD = ["frozen", "subclassed"]


def test_every_transform_has_a_case():
    names = {name.rpartition(".")[2] for name in exports_of("transform")}
    assert names == {*IN_PLACE, *NEW}


@pytest.mark.slow
@each_in_place
@pytest.mark.parametrize("hard", HARD)
def test_in_place(name, hard):
    model = HARD_MODELS[hard](batch_norm)
    model.compile(keras.optimizers.SGD(0.1), "mse", jit_compile=False)
    trained = {id(w) for w in model.trainable_weights}
    config, before = model.get_config(), model.get_weights()
    weights = [w for w in model.weights if "seed" not in w.path]
    optimizer = model.optimizer
    told = contextlib.nullcontext()
    if (name, hard) == ("AutoInit", "subclassed"):
        # It adds 1 to what a Dense computes, of which its rule knows nothing.
        told = pytest.warns(UserWarning, match="No rule is known for 'low'")
    with told:
        assert IN_PLACE[name](model) is model
    after = model.get_weights()
    assert all(np.isfinite(w).all() for w in after)
    for weight, old, new in zip(weights, before, after, strict=True):
        if id(weight) not in trained:
            np.testing.assert_array_equal(new, old, err_msg=weight.path)
    assert any(
        not np.array_equal(old, new)
        for old, new in zip(before, after, strict=True)
    )
    assert model.get_config() == config and model.optimizer is optimizer


@each_in_place
def test_equal_seeds_give_equal_weights(name):
    first, second, other = (net(batch_norm) for _ in range(3))
    IN_PLACE[name](first, seed=1)
    IN_PLACE[name](second, seed=1)
    IN_PLACE[name](other, seed=2)
    for one, two in zip(first.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)
    pairs = zip(first.get_weights(), other.get_weights(), strict=True)
    assert any(not np.array_equal(one, two) for one, two in pairs)


@each_new
def test_a_new_model(name):
    transform, changed, _ = NEW[name]
    model = changed()
    config, before = model.get_config(), model.get_weights()
    new = transform(model)
    assert new is not model and isinstance(new, keras.Model)
    assert model.get_config() == config
    for old, now in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(now, old)


@pytest.mark.parametrize("name", [n for n in NEW if NEW[n][2]])
def test_nothing_else_is_changed(name):
    transform, _, unchanged = NEW[name]
    model = unchanged()
    new = transform(model)
    for training in (False, True):
        np.testing.assert_allclose(
            np.array(new(IMAGES, training=training)),
            np.array(model(IMAGES, training=training)),
            *(1e-5, 1e-5),
        )


@pytest.mark.parametrize(
    "name",
    failing(
        "transformed", [name for name in NEW if name != "capsule_classifier"]
    ),
)
def test_what_is_frozen_stays_so(name):
    transform, changed, _ = NEW[name]
    model = changed()
    for layer in model.layers:
        layer.trainable = False
    new = transform(model)
    assert new.trainable_weights == []
    before = new.get_weights()
    new(IMAGES, training=True)
    for old, now in zip(before, new.get_weights(), strict=True):
        np.testing.assert_array_equal(now, old)


@pytest.mark.parametrize("name", [*IN_PLACE, *NEW])
def test_what_is_no_model_is_refused(name):
    transform = IN_PLACE.get(name) or NEW[name][0]
    with pytest.raises((TypeError, ValueError), match="model"):
        transform(layers.Dense(3))
