"""Every layer class of Keras passes through AutoInit, and is finite."""

import inspect

import keras
import numpy as np
import pytest
from keras import layers as L

from tests.keras_layers import (
    ELSEWHERE,
    IMAGES,
    LOOKUPS,
    MODELS,
    SOUND,
    image_model,
    sound_model,
)
from tfdeep.initializers import AutoInit


def test_no_class_is_forgotten():
    names = {
        name
        for name, value in vars(L).items()
        if inspect.isclass(value) and not name.startswith("_")
    }
    listed = {*MODELS, *IMAGES, *LOOKUPS, *SOUND, "HashedCrossing"}
    listed |= {*ELSEWHERE}
    # These names are aliases.
    aliases = {name for name in names if getattr(L, name).__name__ != name}
    assert names - listed <= aliases
    assert listed <= names


def check(model, data=None):
    init = AutoInit(seed=0)
    if data is not None:
        init = AutoInit.from_data(data, seed=0)
    init.initialize_model(model, strict=True)
    report = init.report
    assert report.records
    values = [(r.mean, r.variance, r.second) for r in report.records]
    assert np.all(np.isfinite(values))
    assert not report.probed
    kernels = [v for v in model.variables if v.path.endswith("kernel")]
    assert all(np.any(np.array(v)) for v in kernels)


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_keras_layers(name):
    check(MODELS[name]())


@pytest.mark.slow
@pytest.mark.parametrize("name", IMAGES)
# Made for pixels: of random numbers around 0 one leaves nothing but zeros.
@pytest.mark.filterwarnings("ignore:The signal at")
def test_image_layers(name):
    check(image_model(name))


def embedded(inputs, integers):
    """A net on integers that stand for a vocabulary of twenty."""
    x = L.Flatten()(L.Embedding(20, 4)(integers))
    return keras.Model(inputs, L.Dense(8)(x))


@pytest.mark.tensorflow  # Text and tables are TensorFlow's on every backend.
@pytest.mark.parametrize("name", LOOKUPS)
def test_lookups(name):
    dtype, arguments = LOOKUPS[name]
    if name == "TextVectorization":
        arguments = {**arguments, "output_sequence_length": 5}
    inputs = keras.Input((1,) if "Text" in name else (5,), dtype=dtype)
    model = embedded(inputs, getattr(L, name)(**arguments)(inputs))
    if dtype == "string":
        with pytest.raises(ValueError, match="from_data"):
            AutoInit().initialize_model(model)
        check(model, np.array([["a b a"] * inputs.shape[1]] * 32))
    else:
        check(model)


@pytest.mark.tensorflow
def test_text_for_numbers_and_numbers_for_text():
    text, numbers = keras.Input((5,), dtype="string"), keras.Input((5,))
    lookup = L.StringLookup(vocabulary=["a", "b"])
    of_text = embedded(text, lookup(text))
    of_numbers = keras.Model(numbers, L.Dense(2)(numbers))
    words = np.array([["a"] * 5] * 8)
    with pytest.raises(ValueError, match="Received: numbers"):
        AutoInit.from_data(np.ones((8, 5))).initialize_model(of_text)
    with pytest.raises(ValueError, match="Received: text"):
        AutoInit.from_data(words).initialize_model(of_numbers)


@pytest.mark.tensorflow
def test_hashed_crossing():
    inputs = [keras.Input((1,), dtype="int32") for _ in range(2)]
    check(embedded(inputs, L.HashedCrossing(20)(tuple(inputs))))


@pytest.mark.parametrize("name", SOUND)
def test_sound(name):
    check(sound_model(name))
