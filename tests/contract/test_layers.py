"""What every layer passes.

    settings    the configuration is JSON, holds every argument, and makes the
                same layer again; the policy of the layer is its dtype
    shapes      known without data, for every batch and image size
    life        equal seeds run alike; every weight trains; a file resumes the
                run; a clone is the model; batches may be cut
    training    eager (in the life), as a graph of unknown sizes, by XLA
    precision   half precision is close to single, and trains
    neutral     one setting is the plain thing, exactly
    channels    first computes what last does
    hard use    frozen, masked, mixed, subclassed (see hard_use.py)

In other processes, for all at once (test_together.py): loading, export, two
devices.  Variants of a layer go through settings, shapes, life and files; on
JAX, where each is compiled, through settings and shapes.
"""

import inspect
import json

import keras
import numpy as np
import pytest

from tests.contract import hard_use, life
from tests.contract.cases import CASES, is_variant, layer_names
from tests.contract.cases.factories import L, noisy
from tests.contract.expected import failing
from tests.contract.harness import BACKEND, build, images, model_of, wrap
from tests.contract.life import MODES

LAYERS = layer_names()
MAIN = [name for name in LAYERS if not is_variant(name)]
MASKED = [
    (name, inside)
    for name in LAYERS
    if CASES[name].masked
    for inside in hard_use.INSIDES
    if inside == "layer" or CASES[name].holds_a_layer
]
OF_PARTS = "Repeat-of-a-model"
POLICIES = ("float32", "mixed_float16", "mixed_bfloat16")


@pytest.mark.parametrize("name", LAYERS)
def test_settings(name, subtests):
    layer = build(name, name="my_layer", dtype="mixed_bfloat16")
    with subtests.test("the configuration makes the same layer again"):
        data = keras.saving.serialize_keras_object(layer)
        twin = keras.saving.deserialize_keras_object(
            json.loads(json.dumps(data))
        )
        assert type(twin) is type(layer)
        assert twin.get_config() == layer.get_config()
        assert type(layer).from_config(layer.get_config()).name == "my_layer"
    with subtests.test("the configuration holds every argument"):
        arguments = inspect.signature(type(layer)).parameters
        assert set(arguments) - {"kwargs"} <= set(layer.get_config())
    with subtests.test("masking is declared"):
        case = CASES[name]
        declared = build(name).supports_masking
        assert declared == (case.masked is not None or case.holds_a_model)


@pytest.mark.parametrize("name", LAYERS)
def test_shapes(name, subtests):
    shape, x = CASES[name].shape, images(name)
    with subtests.test("known without data"):
        layer = build(name)
        expected = layer.compute_output_shape((None, *shape))
        symbolic = layer(keras.Input(shape))
        assert tuple(symbolic.shape) == tuple(expected)
        assert tuple(layer.compute_output_shape(x.shape)) == (
            len(x),
            *expected[1:],
        )
        assert output_shape(layer, x) == (len(x), *expected[1:])
    if not CASES[name].free_sizes:
        return
    with subtests.test("of unknown sizes"):
        layer, free = build(name), (None, None, shape[-1])
        expected = layer.compute_output_shape((None, *free))
        model = keras.Sequential([keras.Input(free), layer])
        assert tuple(model.output_shape) == tuple(expected)
        for sizes in [(7, 5), (8, 6)]:
            x = images(name, 3, sizes=sizes)
            known = tuple(layer.compute_output_shape(x.shape))
            for training in (False, True):
                assert output_shape(model, x, training) == known


def of_parts():
    """Two copies, which may be skipped, of a model of layers."""
    return wrap(L.Repeat(noisy(0.3), 2, [0.9, 0.5]), CASES["Repeat"].shape)


def output_shape(layer, x, training=False) -> tuple:
    """The shape of what a call returns; on JAX nothing is computed."""
    takes = "training" in inspect.signature(layer.call).parameters
    kwargs = {"training": training} if takes else {}
    if BACKEND == "tensorflow":
        return tuple(layer(x, **kwargs).shape)
    import jax

    weights = [v.value for v in layer.trainable_variables]
    state = [v.value for v in layer.non_trainable_variables]
    y, _ = jax.eval_shape(
        lambda x: layer.stateless_call(weights, state, x, **kwargs), x
    )
    return tuple(y.shape)


@pytest.mark.parametrize("name", MAIN)
def test_policy(name):
    for policy in POLICIES:
        layer, x = build(name, dtype=policy), images(name)
        y = layer(keras.Input(CASES[name].shape))
        assert layer.compute_dtype == policy.removeprefix("mixed_")
        assert y.dtype == layer.compute_dtype
        assert {w.dtype for w in layer.weights} <= {"float32"}
        for training in (False, True) if BACKEND == "tensorflow" else ():
            y = layer(x, training=training)
            dtype = keras.backend.standardize_dtype(y.dtype)
            assert dtype == layer.compute_dtype
            assert np.isfinite(np.array(keras.ops.cast(y, "float32"))).all()


@pytest.mark.slow
@pytest.mark.parametrize("name", LAYERS if BACKEND == "tensorflow" else MAIN)
def test_life(name, tmp_path, subtests):
    life.check_life(name, tmp_path, subtests)


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", MAIN)
def test_compiled_training(name, mode):
    life.check_compiled_training(name, mode)


@pytest.mark.slow
@pytest.mark.parametrize("policy", life.HALVES)
@pytest.mark.parametrize("name", MAIN)
def test_half_precision(name, policy):
    life.check_half_precision(name, policy)


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n in LAYERS if CASES[n].neutral])
def test_neutral_setting(name):
    life.check_neutral_setting(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n in MAIN if CASES[n].data_format])
def test_channels_first(name):
    life.check_channels_first(name)


@pytest.mark.parametrize("name", failing("frozen by argument", MAIN))
def test_frozen_by_argument(name):
    layer = build(name, trainable=False, name="frozen")
    model = wrap(layer, CASES[name].shape)
    found = hard_use.what_trains(model, images(name), {"it": layer})["it"]
    assert not any(found["trained"]) and not any(found["moved"])


@pytest.mark.parametrize(("name", "inside"), failing("masked", MASKED))
def test_masked(name, inside):
    inner = hard_use.INSIDES[inside]
    hard_use.check_mask(lambda: CASES[name].masked(inner))


@pytest.mark.slow
@pytest.mark.parametrize("first", hard_use.PRECISIONS)
@pytest.mark.parametrize("name", [*MAIN, *failing("mixed", [OF_PARTS])])
def test_loaded_under_another_policy(name, first, tmp_path):
    hard_use.check_loaded_under_another_policy(
        of_parts if name == OF_PARTS else lambda: model_of(name),
        images("Repeat" if name == OF_PARTS else name),
        *(first, tmp_path),
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", failing("subclassed", MAIN))
def test_subclassed(name, tmp_path):
    hard_use.check_subclass(lambda: build(name), images(name), tmp_path)
