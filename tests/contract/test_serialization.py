"""A layer or model survives its configuration, a file and an export."""

import inspect
import json

import keras
import numpy as np
import pytest

from tests.contract.cases import CASES, layer_names
from tests.contract.harness import (
    BACKEND,
    HAS_TENSORFLOW,
    build,
    disturb,
    images,
    infer,
    model_of,
    run_child,
)


@pytest.mark.parametrize("name", layer_names())
def test_config_round_trip(name):
    layer = build(name, name="my_layer", dtype="mixed_bfloat16")
    data = json.loads(json.dumps(keras.saving.serialize_keras_object(layer)))
    twin = keras.saving.deserialize_keras_object(data)
    assert type(twin) is type(layer)
    assert twin.get_config() == layer.get_config()
    assert type(layer).from_config(layer.get_config()).name == "my_layer"


@pytest.mark.parametrize("name", layer_names())
def test_config_holds_every_argument(name):
    layer = build(name)
    arguments = inspect.signature(type(layer)).parameters
    assert set(arguments) - {"kwargs"} <= set(layer.get_config())


@pytest.mark.parametrize("name", CASES)
def test_clone_model(name):
    model, x = model_of(name), images(name)
    disturb(model)
    twin = keras.models.clone_model(model)
    twin.set_weights(model.get_weights())
    assert [type(layer) for layer in twin.layers] == [
        type(layer) for layer in model.layers
    ]
    np.testing.assert_array_equal(infer(twin, x), infer(model, x))


def test_loaded_in_a_fresh_process(tmp_path):
    """All cases in one new process, which knows `import tfdeep` alone."""
    expected = {}
    for name in CASES:
        model, x = model_of(name), images(name)
        disturb(model)
        expected[name] = infer(model, x)
        model.save(tmp_path / f"{name}.keras")
        np.save(tmp_path / f"{name}.input.npy", x)
    run_child("predict", tmp_path)
    for name in CASES:
        actual = np.load(tmp_path / f"{name}.output.npy")
        np.testing.assert_allclose(
            actual, expected[name], 1e-6, 1e-6, err_msg=name
        )


@pytest.mark.skipif(
    not HAS_TENSORFLOW, reason="a SavedModel is written by TensorFlow"
)
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("name", CASES)
def test_export_to_saved_model(name, tmp_path):
    import tensorflow as tf

    model = model_of(name)
    disturb(model)
    model.export(tmp_path / "saved", verbose=False)
    artifact = tf.saved_model.load(tmp_path / "saved")
    for batch in (2, 3):
        x = images(name, batch)
        np.testing.assert_allclose(
            np.array(artifact.serve(x)),
            infer(model, x),
            *(1e-6, 1e-6) if BACKEND == "tensorflow" else (1e-5, 1e-5),
        )
