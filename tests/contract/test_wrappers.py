"""What every wrapper passes.

    neutral     one setting trains as the plain model does, exactly, be the
                model frozen, masked, mixed, reloaded, subclassed, shared,
                written by hand; or it refuses the model by name
    settings    the configuration is JSON and makes the same wrapper again
    life        trained, saved, resumed: the run goes on; `.base` stays the
                plain model, and its file loads without the wrapper
    training    eager (in the life), as a graph, by XLA
    precision   half precision trains
Loaded in a fresh process: test_together.py.  On two devices:
tests/training/test_distribution.py and tests/privacy/test_distribution.py.
"""

import json

import keras
import numpy as np
import pytest

from tests.contract.expected import failing
from tests.contract.exports import exports_of
from tests.contract.hard_models import (
    HARD_MODELS,
    SHAPE,
    TiedEmbedding,
    batch_norm,
    group_norm,
    net,
)
from tests.contract.harness import BACKEND, FEW_STEPS, run_child, targets
from tests.contract.life import HALVES, MODES
from tfdeep.privacy import GaussianMechanism, NotPrivateError, PrivateModel
from tfdeep.training import (
    BatchEntropyRegularizer,
    DeepSupervision,
    Head,
    RelayBackpropagation,
)


def private(base, clip=1e6, noise=0.0):
    return PrivateModel(base, None, clip, GaussianMechanism(noise), seed=1)


# With settings that change what is trained, and with neutral ones.
WRAPPERS = {
    "BatchEntropyRegularizer": (
        lambda base: BatchEntropyRegularizer(base, alpha=1.0),
        lambda base: BatchEntropyRegularizer(base, beta=0.0),
    ),
    "DeepSupervision": (
        lambda base: DeepSupervision(base, {"hidden": Head(loss="mse")}),
        lambda base: DeepSupervision(
            base, {"hidden": Head(loss="mse", alpha=0)}
        ),
    ),
    "PrivateModel": (lambda base: private(base, 1.0), private),
    "RelayBackpropagation": (
        lambda base: RelayBackpropagation(base, {"hidden": Head(loss="mse")}),
        lambda base: RelayBackpropagation(
            base, {"hidden": Head(loss="mse", alpha=0)}, overlap=99
        ),
    ),
}
each_wrapper = pytest.mark.parametrize("name", WRAPPERS)
ORDINARY = ("ordinary", "frozen", "by hand", "own weight")
# JAX compiles each of these twice: there the main ones only.
HARD = list(HARD_MODELS) if BACKEND == "tensorflow" else ORDINARY
PAIRS = [(name, hard) for name in WRAPPERS for hard in HARD]


def norm_for(name: str):
    """A private model may not have a BatchNormalization."""
    return group_norm if name == "PrivateModel" else batch_norm


def batch(count: int = 4):
    """Sequences whose last steps are padding."""
    x = np.random.default_rng(0).normal(size=(count, *SHAPE))
    x[::2, 3:] = 0.0
    return x.astype("float32")


def fit(model, x, compiled=True, **kwargs) -> list:
    """Two steps of momentum SGD on half of the batch each."""
    if compiled:
        kwargs.setdefault("jit_compile", BACKEND == "jax")
        model.compile(keras.optimizers.SGD(0.1, momentum=0.9), "mse", **kwargs)
    history = model.fit(
        x, targets(len(x)), len(x) // 2, shuffle=False, verbose=0
    )
    return history.history["loss"]


def assert_close(actual, expected, tolerance=1e-5):
    for one, other in zip(actual, expected, strict=True):
        np.testing.assert_allclose(one, other, tolerance, tolerance)


def test_every_wrapper_has_a_case():
    names = {name.rpartition(".")[2] for name in exports_of("wrapper")}
    assert names == set(WRAPPERS)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "hard"), failing("wrapped", PAIRS))
def test_neutral_setting(name, hard):
    tolerance = 1e-2 if hard == "mixed" else 1e-5
    refusable = hard.startswith(("own", "tied"))
    check_neutral_setting(name, HARD_MODELS[hard], refusable, tolerance)


def test_private_training_of_a_tied_embedding():
    check_tied_embedding(einsum=False)


@pytest.mark.slow
@pytest.mark.tensorflow
def test_private_training_of_an_embedding_tied_by_einsum(tmp_path):
    run_child("tied_by_einsum", tmp_path, TF_NUM_INTRAOP_THREADS="2")


def check_tied_embedding(einsum: bool) -> None:
    """Without clip and noise it learns what plain Keras does."""
    words = np.random.default_rng(0).integers(0, 7, (8, 5))
    losses = []
    for wrap in (lambda model: model, private):
        model = TiedEmbedding(einsum)
        model(keras.Input((5,), dtype="int32"))
        model = wrap(model)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.SGD(0.5), loss)
        fitted = model.fit(words, (words + 1) % 7, 4, 2, 0, shuffle=False)
        losses.append(fitted.history["loss"])
    np.testing.assert_allclose(*losses, 1e-5)


def check_neutral_setting(name, make, refusable=False, tolerance=1e-5):
    """The wrapper trains as the plain model does, or refuses it by name."""
    _, neutral = WRAPPERS[name]
    x = batch()
    plain, base = make(norm_for(name)), make(norm_for(name))
    before = base.get_weights()
    base.set_weights(plain.get_weights())
    try:
        wrapper = neutral(base)
        losses = fit(wrapper, x, **FEW_STEPS)
    except (TypeError, ValueError) as refusal:
        # Right too, if it says what it refuses and leaves that as it is.
        assert refusable
        assert type(base).__name__ in str(refusal) or base.name in str(refusal)
        assert_close(base.get_weights(), before, 0.0)
        return
    np.testing.assert_allclose(losses, fit(plain, x, **FEW_STEPS), tolerance)
    assert_close(base.get_weights(), plain.get_weights(), tolerance)
    moved = [
        not np.array_equal(old, new)
        for old, new in zip(before, base.get_weights(), strict=True)
    ]
    trained = {id(w) for w in base.trainable_weights}
    state = any("moving" in w.path for w in base.weights)
    expected = [id(w) in trained for w in base.weights if "seed" not in w.path]
    assert state or moved == expected


def files() -> dict:
    """Trained wrappers for a fresh process to load, and an input."""
    models = {}
    for name, (make, _) in WRAPPERS.items():
        models[name] = make(net(norm_for(name)))
        fit(models[name], batch(), **FEW_STEPS)
    return {name: (model, batch()) for name, model in models.items()}


@each_wrapper
def test_settings(name):
    for make in WRAPPERS[name]:
        wrapper = make(net(norm_for(name)))
        data = keras.saving.serialize_keras_object(wrapper)
        twin = keras.saving.deserialize_keras_object(
            json.loads(json.dumps(data))
        )
        assert type(twin) is type(wrapper)
        configs = [json.dumps(w.get_config()) for w in (twin, wrapper)]
        assert configs[0] == configs[1]


@each_wrapper
def test_life(name, tmp_path, subtests):
    x, base = batch(), net(norm_for(name))
    config, weights = base.get_config(), [id(w) for w in base.weights]
    wrapper = WRAPPERS[name][0](base)
    fit(wrapper, x, **FEW_STEPS)
    with subtests.test("the model inside stays plain"):
        assert wrapper.base is base and base.get_config() == config
        assert [id(w) for w in base.weights] == weights
        expected = base.predict(x, verbose=0)
        np.testing.assert_array_equal(wrapper.predict(x, verbose=0), expected)
        base.save(tmp_path / "base.keras")
        alone = keras.models.load_model(tmp_path / "base.keras")
        np.testing.assert_array_equal(alone.predict(x, verbose=0), expected)
    with subtests.test("a file continues the run"):
        wrapper.save(tmp_path / "half.keras")
        resumed = keras.models.load_model(tmp_path / "half.keras")
        losses = fit(wrapper, x, compiled=False)
        np.testing.assert_allclose(
            fit(resumed, x, compiled=False), losses, 1e-5
        )
        assert_close(resumed.get_weights(), wrapper.get_weights())
        assert_close(
            [np.array(v) for v in resumed.optimizer.variables],
            [np.array(v) for v in wrapper.optimizer.variables],
        )


@pytest.mark.slow
@each_wrapper
@pytest.mark.parametrize("mode", MODES)
def test_compiled_training(name, mode):
    wrapper = WRAPPERS[name][0](net(norm_for(name)))
    wrapper.build((None, *SHAPE))
    weights = wrapper.trainable_weights
    before = [np.array(w) for w in weights]
    losses = fit(wrapper, batch(), jit_compile=MODES[mode])
    assert np.isfinite(losses).all()
    unmoved = [
        w.path
        for w, old in zip(weights, before, strict=True)
        if np.array_equal(np.array(w), old)
    ]
    assert unmoved == []


@each_wrapper
@pytest.mark.parametrize("policy", HALVES)
def test_half_precision(name, policy):
    keras.config.set_dtype_policy(policy)
    base = net(norm_for(name))
    if (name, policy) == ("PrivateModel", "mixed_float16"):
        with pytest.raises(NotPrivateError, match=base.name):
            WRAPPERS[name][0](base)
        return
    wrapper = WRAPPERS[name][0](base)
    losses = fit(wrapper, batch(), **FEW_STEPS)
    assert np.isfinite(losses).all()
    assert {w.dtype for w in wrapper.trainable_weights} == {"float32"}
    assert all(np.isfinite(w).all() for w in wrapper.get_weights())
