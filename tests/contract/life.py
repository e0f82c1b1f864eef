"""What a small model around a layer, or a model, goes through in its life.

Each function here makes one promise, or follows one model through several.
"""

import keras
import numpy as np

from tests.contract.cases import CASES, layer_names, names
from tests.contract.cases.plain import SEED
from tests.contract.harness import (
    BACKEND,
    FEW_STEPS,
    assert_all_close,
    build,
    calls_in_training,
    disturb,
    images,
    infer,
    model_of,
    train,
    values,
    wrap,
)

# On JAX there is one mode, compiled; it is the one of the whole life.
HALVES = ["mixed_bfloat16"]
if BACKEND == "tensorflow":
    HALVES.append("mixed_float16")
MODES = {"graph": False, "xla": True} if BACKEND == "tensorflow" else {}


def check_life(name: str, folder, subtests) -> None:
    """Started twice, trained, saved, continued, loaded, resumed, cloned."""
    case, x = CASES[name], images(name, 4)
    model, twin = model_of(name), model_of(name)
    calls = 8 if case.random else 1
    with subtests.test("equal seeds give equal runs"):
        assert_all_close(model.get_weights(), twin.get_weights(), 0.0)
        outputs = calls_in_training(model, x[:2], calls)
        assert_all_close(outputs, calls_in_training(twin, x[:2], calls), 1e-6)
        if case.random:
            assert any(np.any(y != outputs[0]) for y in outputs)
    if case.random:
        with subtests.test("another seed gives another run"):
            other = model_of(name, seed=SEED + 1)
            other.set_weights(model_of(name).get_weights())
            others = calls_in_training(other, x[:2], calls)
            assert any(
                np.any(y != z) for y, z in zip(outputs, others, strict=True)
            )
    with subtests.test("every weight is trained"):
        train_every_weight(model, x, case.random, **FEW_STEPS)
    with subtests.test("a file continues the run"):
        model.save(folder / "half.keras")
        train(model, x, compiled=False)
        resumed = keras.models.load_model(folder / "half.keras")
        train(resumed, x, compiled=False)
        assert_all_close(values(resumed), values(model), 1e-5)
        assert_all_close(
            [np.array(v) for v in resumed.optimizer.variables],
            [np.array(v) for v in model.optimizer.variables],
            1e-5,
        )
    with subtests.test("a clone with the weights is the model"):
        clone = keras.models.clone_model(model)
        clone.set_weights(model.get_weights())
        assert [type(layer) for layer in clone.layers] == [
            type(layer) for layer in model.layers
        ]
        whole = infer(model, x[:3])
        np.testing.assert_array_equal(infer(clone, x[:3]), whole)
    with subtests.test("a batch may be cut"):
        if "-sda" in name:  # Its mean distance is that of the batch.
            model = model_of(name, **case.alone)
            whole = infer(model, x[:3])
        assert model.output_shape == (None, 3)
        parts = model.predict(x[:3], batch_size=2, verbose=0)
        np.testing.assert_allclose(parts, whole, 1e-5, 1e-5)


def train_every_weight(model, x, random: bool, **kwargs) -> None:
    """Fit; all stays finite, and no weight stays where it was."""
    weights = model.trainable_variables
    before = [np.array(w) for w in weights]
    # Enough steps that no branch is dropped at all of them.
    losses = train(model, x, epochs=3 if random else 1, **kwargs)
    assert np.isfinite(losses).all()
    assert all(np.isfinite(w).all() for w in values(model))
    unmoved = [
        w.path
        for w, old in zip(weights, before, strict=True)
        if np.array_equal(np.array(w), old)
    ]
    assert unmoved == []


def check_compiled_training(name: str, mode: str) -> None:
    """Plain `fit` as a graph of unknown sizes, and compiled by XLA."""
    case = CASES[name]
    free = mode == "graph" and name in names(free_sizes=True)
    model = model_of(name, free_sizes=free)
    # The last batch is a smaller one.
    x = images(name, 3, sizes=(7, 5)) if free else images(name, 4)
    train_every_weight(model, x, case.random, jit_compile=MODES[mode])


def check_half_precision(name: str, policy: str) -> None:
    """Half precision is close to single precision, and trains."""
    x, single = images(name), model_of(name)
    keras.config.set_dtype_policy(policy)
    half = model_of(name)
    half.set_weights(single.get_weights())
    expected, actual = infer(single, x), infer(half, x)
    scale = np.abs(expected).max()
    assert np.abs(actual - expected).max() < 0.05 * scale
    (loss,) = train(half, x, **FEW_STEPS)
    assert np.isfinite(loss)
    assert {w.dtype for w in half.weights} == {"float32"}
    assert all(np.isfinite(w).all() for w in half.get_weights())


def check_neutral_setting(name: str) -> None:
    """A neutral setting is the plain thing: outputs, and what training does.

    The same outputs in training and the same gradients move the weights and
    the batch statistics alike.
    """
    ours, plain = (
        wrap(thing, CASES[name].shape) for thing in CASES[name].neutral()
    )
    disturb(ours)
    plain.set_weights(ours.get_weights())
    x = images(name, 6)
    np.testing.assert_array_equal(infer(ours, x), infer(plain, x))
    losses = train(ours, x, **FEW_STEPS)
    np.testing.assert_allclose(losses, train(plain, x, **FEW_STEPS), 1e-5)
    assert_all_close(values(ours), values(plain), 1e-5)


def check_channels_first(name: str) -> None:
    """Channels first computes and learns what channels last does."""
    alone = CASES[name].alone
    first = _with_channels(name, "channels_first", **alone)
    last = _with_channels(name, "channels_last", **alone)
    disturb(last)
    first.set_weights(last.get_weights())
    x = images(name, 4)
    moved = np.ascontiguousarray(np.moveaxis(x, -1, 1))
    np.testing.assert_allclose(infer(first, moved), infer(last, x), 1e-5, 1e-5)
    if BACKEND == "jax":  # Differentiates what was compared.
        return
    train(first, moved, **FEW_STEPS)
    train(last, x, **FEW_STEPS)
    assert_all_close(values(first), values(last), 1e-4)


def _with_channels(name: str, data_format: str, **kwargs) -> keras.Model:
    """The model of a case in a data format."""
    shape = CASES[name].shape
    if data_format == "channels_first":
        shape = (shape[-1], *shape[:-1])
    if name not in layer_names():
        return build(name, input_shape=shape, data_format=data_format, **kwargs)
    return keras.Sequential(
        [
            keras.Input(shape),
            build(name, data_format=data_format, **kwargs),
            keras.layers.GlobalAveragePooling2D(data_format),
            keras.layers.Dense(
                3, kernel_initializer=keras.initializers.HeNormal(SEED)
            ),
        ]
    )
