"""Rules that users register for layers of their own."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import tfdeep
from tests.privacy.reference import check
from tfdeep.privacy import gradient_rule
from tfdeep.privacy.per_example.rules import RULES


@pytest.fixture(autouse=True)
def forgotten():
    """What a test registers is gone after it."""
    before = dict(RULES.rules)
    yield
    RULES.rules = before


class Scale(layers.Layer):
    def build(self, input_shape):
        self.scale = self.add_weight(shape=(input_shape[-1],))

    def call(self, x):
        return self.scale * x


class Squares(Scale):
    def call(self, x):
        return self.scale * x * x


def data(rows=6):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(rows, 5, 4)).astype("float32")
    return x, rng.integers(0, 3, rows)


def net(layer):
    return keras.Sequential(
        [
            keras.Input((5, 4)),
            layers.Dense(4, "tanh"),
            layer,
            layers.Flatten(),
            layers.Dense(3),
        ]
    )


def private(layer):
    """A compiled model that trains with noise."""
    model = tfdeep.PrivateModel(
        net(layer), mechanism=tfdeep.privacy.GaussianMechanism(1.0)
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("sgd", loss)
    return model


def scale_gradients(layer, x, g):
    return {id(layer.scale): ops.sum(x * g, axis=1)}


def ways(model):
    return [
        row.split("  ")[-1] for row in model.describe_clipping().split("\n")
    ]


def test_it_gives_the_gradients_of_a_loop():
    gradient_rule(Scale)(scale_gradients)
    model = check(net(Scale()), *data())
    assert ways(model) == ["book-keeping", "registered rule", "book-keeping"]


def test_of_several_views_too():
    gradient_rule(Scale)(scale_gradients)
    x, y = data()
    model = tfdeep.PrivateModel(
        net(Scale()), augmentation=tfdeep.privacy.Views(layers.Identity(), 2)
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("sgd", loss)
    plain = tfdeep.PrivateModel(model.base)
    plain.compile("sgd", loss)
    np.testing.assert_allclose(
        ops.convert_to_numpy(model.clipped_sum(x, y)[2]),
        ops.convert_to_numpy(plain.clipped_sum(x, y)[2]),
        rtol=1e-5,
    )


def test_it_trains():
    gradient_rule("tests.Scale")(scale_gradients)
    model = private(Scale())
    before = model.base.get_weights()
    model.fit(*data(), batch_size=3, verbose=0)
    after = model.base.get_weights()
    assert all(np.any(a != b) for a, b in zip(before, after, strict=True))


def test_a_subclass_that_computes_something_else_has_none():
    gradient_rule(Scale)(scale_gradients)
    model = check(net(Squares()), *data())
    assert "registered rule" not in model.describe_clipping()


def test_a_wrong_rule_is_found_before_the_first_step():
    @gradient_rule(Scale)
    def forgets_a_half(layer, x, g):
        return {id(layer.scale): 0.5 * ops.sum(x * g, axis=1)}

    model = private(Scale())
    with pytest.warns(UserWarning, match="gradients"):
        model.fit(*data(), batch_size=3, verbose=0)


def test_so_is_a_layer_that_mixes_examples():
    class Mixes(Scale):
        def call(self, x):
            return self.scale * (x - ops.mean(x, axis=0))

    @gradient_rule(Mixes)
    def mixed(layer, x, g):
        return {id(layer.scale): ops.sum((x - ops.mean(x, 0)) * g, axis=1)}

    model = private(Mixes())
    with pytest.warns(UserWarning, match="gradients"):
        model.fit(*data(), batch_size=3, verbose=0)


@pytest.mark.parametrize("returned", [{}, [1.0]], ids=str)
def test_a_rule_that_leaves_a_weight_out(returned):
    gradient_rule(Scale)(lambda layer, x, g: returned)
    model = private(Scale())
    with pytest.raises(ValueError, match="must return the gradients of its 1"):
        model.clipped_sum(*data())


def test_a_rule_for_no_class():
    with pytest.raises(TypeError, match="`gradient_rule` takes classes"):
        gradient_rule(layers.Dense(2))
