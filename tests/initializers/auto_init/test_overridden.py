"""Subclasses that compute something else than the class of a rule."""

import keras
import numpy as np
import pytest
from keras import layers

import tfdeep
from tests.initializers.auto_init.nets import single
from tfdeep.initializers import AutoInit, propagate
from tfdeep.initializers.auto_init.rules import find_rule
from tfdeep.initializers.auto_init.rules.measuring import computed
from tfdeep.initializers.auto_init.rules.registry import RULES


class EqualizedConv(layers.Conv2D):
    """Scales its kernel at run time."""

    def convolution_op(self, inputs, kernel):
        return super().convolution_op(inputs, 1e-3 * kernel)


class EqualizedDense(layers.Dense):
    """The same by a property."""

    @property
    def kernel(self):
        return 1e-3 * self._kernel


class ScaledEmbedding(layers.Embedding):
    """Of the transformer."""

    def call(self, inputs):
        return 8.0 * super().call(inputs)


class HalfDropout(layers.Dropout):
    """Has no effect on the mean square but another one."""

    def call(self, inputs, training=False):
        return 0.5 * inputs


def net(layer):
    shape, dtype = ((8, 8, 3), None)
    if isinstance(layer, layers.Embedding):
        shape, dtype = (6,), "int32"
    elif not isinstance(layer, layers.Conv2D):
        shape = (16,)
    inputs = keras.Input(shape, dtype=dtype)
    return keras.Model(inputs, layer(inputs))


@pytest.mark.parametrize(
    "make",
    [
        lambda: EqualizedConv(4, 3),
        lambda: EqualizedDense(8),
        lambda: ScaledEmbedding(9, 16),
        lambda: HalfDropout(0.5),
    ],
)
def test_they_have_no_rule_of_the_parent(make):
    model = net(make())
    with pytest.warns(UserWarning, match="No rule is known"):
        report = propagate(model)
    assert report.probed == [model.layers[1].name]
    with pytest.raises(NotImplementedError, match=model.layers[1].name):
        AutoInit(seed=0).initialize_model(model, strict=True)


def test_the_measured_moments_are_theirs():
    model = net(ScaledEmbedding(9, 16))
    table = model.layers[1].get_weights()[0]
    with pytest.warns(UserWarning, match="No rule is known"):
        init = AutoInit(seed=0)
        init.initialize_model(model)
    expected = 64 * np.mean(table**2)
    assert init.report.records[0].second == pytest.approx(expected, rel=0.05)


def test_names_files_and_shapes_may_be_said_otherwise():
    class Named(layers.Dense):
        def __init__(self, units, **kwargs):
            super().__init__(units, **kwargs)

        def build(self, input_shape):
            super().build(input_shape)

        def get_config(self):
            return super().get_config()

        def report(self):
            return "mine"

    init = AutoInit(seed=0)
    init.initialize_model(single(Named(4), 16), strict=True)
    assert init.report.records[0].scale == 0.25


def test_so_is_it_with_moments_that_a_layer_states():
    class Doubled(layers.Layer):
        def call(self, x):
            return 2.0 * x

        def get_signal_moments(self, mean, variance):
            return 2.0 * mean, 4.0 * variance

    class Tripled(Doubled):
        def call(self, x):
            return 3.0 * x

    assert propagate(single(Doubled(), 16)).records[0].second == 4.0
    with pytest.warns(UserWarning, match="No rule is known"):
        report = propagate(single(Tripled(), 16))
    assert report.records[0].second == pytest.approx(9.0, rel=1e-3)


def test_what_overrides_a_parents_call_has_a_rule_of_its_own():
    """No class of Keras, and none of ours, lost one to this."""
    kinds = [vars(each) for each in (layers, tfdeep.layers)]
    lost = [
        kind.__name__
        for kind in [k for names in kinds for k in names.values()]
        if isinstance(kind, type)
        and any(parent in RULES.rules for parent in kind.__mro__)
        and find_rule(object.__new__(kind)) is computed
    ]
    assert lost == ["WeightStandardizedConv2D"]  # Which says so itself.


@pytest.mark.parametrize("tied", [True, False])
def test_reversible_embeddings(tied):
    """The way back is a product with the table, or with its own kernel."""
    layer = layers.ReversibleEmbedding(50, 16, tie_weights=tied)
    inputs = keras.Input((6,), dtype="int32")
    x = layers.Dense(16, "relu")(layer(inputs))
    model = keras.Model(inputs, layer(x, reverse=True))
    init = AutoInit(seed=0)
    init.initialize_model(model, strict=True)
    # The table has variance 1, 16 inputs a second moment of 0.5.
    expected = 16 * 0.5 if tied else 1.0
    assert init.report.records[-1].second == pytest.approx(expected)
    assert init.report.verify(draws=20).within(0.05).all()


def test_a_reversible_embedding_right_after_itself():
    layer = layers.ReversibleEmbedding(50, 16)
    inputs = keras.Input((6,), dtype="int32")
    model = keras.Model(inputs, layer(layer(inputs), reverse=True))
    init = AutoInit(seed=0)
    init.initialize_model(model, strict=True)
    assert init.report.verify(draws=20).within(0.05).all()
