"""Inputs that are looked up, and columns that a model takes as vectors."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from tests.initializers.unchanged import unchanged
from tfdeep.initializers import AutoInit, GradInit, propagate

ROWS = 5


def table(shape=(6,), prepare=lambda x: x, dtype=None):
    """An embedding of inputs with Keras' default dtype, or another."""
    inputs = keras.Input(shape, dtype=dtype)
    x = layers.Embedding(ROWS, 16)(prepare(inputs))
    return keras.Model(inputs, layers.Dense(8)(layers.Flatten()(x)))


def test_float_inputs_are_drawn_as_integers():
    model, same = table(), table(dtype="int32")
    init = AutoInit(seed=0)
    init.initialize_model(model, strict=True)
    assert init.report.verify(draws=20).within(0.1).all()
    twin = AutoInit(seed=0)
    twin.initialize_model(same, strict=True)
    for a, b in zip(model.get_weights(), same.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_of_several_inputs_those_that_are_looked_up():
    ids, numbers = keras.Input((4,)), keras.Input((4,))
    kinds = keras.Input((4,))
    codes = layers.CategoryEncoding(3, "multi_hot")(kinds)
    rows = layers.Flatten()(layers.Embedding(ROWS, 16, name="rows")(ids))
    parts = layers.Concatenate(name="parts")([rows, numbers, codes])
    model = keras.Model([ids, numbers, kinds], layers.Dense(8)(parts))
    report = propagate(model)
    assert report["parts"].second == pytest.approx(_second(model), rel=0.1)


def _second(model):
    """E[x^2] of what is concatenated, by hand."""
    embedded = np.mean(np.square(model.get_layer("rows").get_weights()))
    hot = 1 - (2 / 3) ** 4
    return (64 * embedded + 4 * 1.0 + 3 * hot) / 71


@pytest.mark.parametrize(
    "prepare", [lambda x: ops.cast(x, "int32"), lambda x: 2 * x]
)
def test_what_is_made_of_random_inputs_is_refused(prepare):
    model = table(prepare=prepare)
    wanted = "must be integers from 0 to 4. Received: values from"
    with unchanged(model), pytest.raises(ValueError, match=wanted):
        AutoInit(seed=0).initialize_model(model)


def test_data_outside_of_the_table_are_refused():
    model, x = table(), np.full((8, 6), ROWS)
    with unchanged(model), pytest.raises(ValueError, match="must be integers"):
        AutoInit.from_data(x, seed=0).initialize_model(model)


def test_columns_are_taken_as_fit_takes_them():
    x, y = np.arange(8) % ROWS, np.arange(8) % 3
    for shape, values in (((), x[:, None]), ((1,), x)):
        model = table(shape)
        model.compile("sgd", "mse")
        model.predict(values, verbose=0)
        init = AutoInit.from_data(values, seed=0)
        init.initialize_model(model, strict=True)
        assert init.report.records[-1].second == pytest.approx(1.0)
        search = GradInit(iterations=1, seed=0, verbose=0)
        loss = keras.losses.SparseCategoricalCrossentropy(True)
        search.initialize_model(model, (values, y), loss, 4)
        assert len(search.scales) == 2


def test_a_layer_that_only_zeros_reach_is_named():
    inputs = keras.Input((4,))
    model = keras.Model(inputs, layers.Dense(3, name="silent")(0 * inputs))
    with pytest.warns(UserWarning, match="The signal at 'silent' is zero"):
        AutoInit(seed=0).initialize_model(model)
