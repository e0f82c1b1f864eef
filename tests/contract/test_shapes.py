"""Shapes are known without data and hold for every batch and image size."""

import keras
import numpy as np
import pytest

from tests.contract.cases import CASES, layer_names, names
from tests.contract.harness import build, images, infer, model_of, train


@pytest.mark.parametrize("name", layer_names())
def test_symbolic_call_and_compute_output_shape(name):
    shape, x = CASES[name].shape, images(name)
    layer = build(name)
    expected = layer.compute_output_shape((None, *shape))
    symbolic = layer(keras.Input(shape))
    assert tuple(symbolic.shape) == tuple(expected)
    assert tuple(layer(x).shape) == (len(x), *expected[1:])
    assert tuple(layer.compute_output_shape(x.shape)) == tuple(layer(x).shape)


@pytest.mark.parametrize("name", layer_names(free_sizes=True))
@pytest.mark.parametrize("sizes", [(7, 5), (8, 6)])
def test_unknown_image_sizes(name, sizes):
    layer, free = build(name), (None, None, CASES[name].shape[-1])
    expected = layer.compute_output_shape((None, *free))
    model = keras.Sequential([keras.Input(free), layer])
    assert tuple(model.output_shape) == tuple(expected)
    x = images(name, 3, sizes=sizes)
    for training in (False, True):
        shape = tuple(model(x, training=training).shape)
        assert shape == tuple(layer.compute_output_shape(x.shape))


@pytest.mark.parametrize("name", names(free_sizes=True))
def test_unknown_sizes_and_a_last_smaller_batch_train(name):
    model = model_of(name, free_sizes=True)
    x = images(name, 3, sizes=(7, 5))
    assert np.isfinite(train(model, x)).all()


@pytest.mark.parametrize("name", CASES)
def test_dynamic_batch_size(name):
    kwargs = CASES[name].alone if "-sda" in name else {}
    model, x = model_of(name, **kwargs), images(name, 3)
    assert model.output_shape == (None, 3)
    parts = model.predict(x, batch_size=2, verbose=0)
    whole = infer(model, x)
    np.testing.assert_allclose(parts, whole, 1e-5, 1e-5)
