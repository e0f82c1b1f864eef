"""What makes recipes small enough to test their wiring, not their claims."""

import functools

import keras
import pytest

from tfdeep import data
from tfdeep.recipes import training


@pytest.fixture
def eager(monkeypatch):
    """Training steps that are not traced: they are few, and soon done."""
    compile_traced = keras.Model.compile

    def compile(self, *args, **kwargs):
        kwargs["run_eagerly"] = True
        return compile_traced(self, *args, **kwargs)

    monkeypatch.setattr(keras.Model, "compile", compile)


@pytest.fixture
def zeros(monkeypatch):
    """Weights that are not drawn: it would take longer than building a net."""
    add_drawn = keras.layers.Layer.add_weight

    def add_weight(self, shape=None, initializer=None, **kwargs):
        return add_drawn(self, shape=shape, initializer="zeros", **kwargs)

    monkeypatch.setattr(keras.layers.Layer, "add_weight", add_weight)


@functools.cache
def first_images(name, split):
    x, y = data.load(name, split, as_numpy=True, shuffle=False)
    return x[:64], y[:64]


@pytest.fixture
def few_images(monkeypatch):
    """The first 64 images of each split, read once."""

    def load(name, split, *, as_numpy, shuffle):
        assert as_numpy and not shuffle
        return first_images(name, split)

    with monkeypatch.context() as patched:
        first_images("digits", "train"), first_images("digits", "test")
        patched.setattr(data, "load", load)
        yield
    training.train_arrays.cache_clear()
    training.test_arrays.cache_clear()
