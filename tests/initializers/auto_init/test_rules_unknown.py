"""Layers that AutoInit does not know: measured, refused or given a rule."""

import keras
import numpy as np
import pytest
from keras import layers

from tests.initializers.auto_init.nets import single
from tests.initializers.unchanged import unchanged
from tfdeep.initializers import AutoInit, propagate, signal_rule


class Odd(layers.Layer):
    """A layer with a weight and no rule."""

    def build(self, shape):
        self.scale = self.add_weight(shape=(shape[-1],), initializer="ones")

    def call(self, x):
        return 3.0 * x * self.scale


class Half(layers.Layer):
    """A layer without weights and without a rule."""

    def call(self, x):
        return 0.5 * x


def odd_model():
    return keras.Sequential([keras.Input((16,)), Odd(), layers.Dense(4)])


def test_they_are_measured_with_a_warning():
    """Whether weights are set or only the signal is followed."""
    init = AutoInit(seed=0)
    model = odd_model()
    with pytest.warns(UserWarning, match="No rule is known for 'odd"):
        init.initialize_model(model)
    assert init.report.probed == [model.layers[0].name]
    assert init.report.records[0].note == "no rule: measured on a sample"
    np.testing.assert_allclose(init.report.records[0].second, 9, rtol=1e-3)
    with pytest.warns(UserWarning, match="No rule is known for 'odd"):
        assert len(propagate(odd_model()).probed) == 1


def test_without_weights_too():
    model = single(Half(), 16)
    with pytest.warns(UserWarning, match="No rule is known for 'half"):
        assert propagate(model).records[0].second == pytest.approx(0.25)
    with pytest.raises(NotImplementedError, match="'half"):
        propagate(model, strict=True)


def test_a_layer_made_of_layers_needs_no_rule():
    """Those that it calls have theirs."""

    class Block(layers.Layer):
        def __init__(self):
            super().__init__()
            self.dense = layers.Dense(16, "relu")

        def build(self, shape):
            self.dense.build(shape)

        def call(self, x):
            return self.dense(x)

    init = AutoInit(seed=0)
    init.initialize_model(single(Block(), 16), strict=True)
    assert init.report.probed == []
    assert [r.scale for r in init.report.records] == [0.25, None]


def test_or_refused():
    """Then nothing is changed."""
    model = odd_model()
    message = r"Received: 'odd\S*', for which there is none"
    with unchanged(model), pytest.raises(NotImplementedError, match=message):
        AutoInit(seed=0).initialize_model(model, strict=True)


def test_or_given_a_rule():
    class Triple(Odd):
        pass

    @signal_rule(Triple)
    def triple(state, layer, call, args, kwargs):
        before, y = state.signal(args[0]), call(*args, **kwargs)
        return state.give(y, before.replace(second=9 * before.second))

    report = propagate(single(Triple(), 16), strict=True)
    np.testing.assert_allclose(report.records[0].second, 9.0)


@pytest.mark.parametrize("kind", ["", int, layers.Dense(2)])
def test_a_rule_for_no_class_of_layers(kind):
    with pytest.raises(TypeError, match="takes classes of layers"):
        signal_rule(kind)


# Layers that say themselves what becomes of the signal.


class Twice(layers.Layer):
    def call(self, x):
        return 2.0 * x

    def get_signal_moments(self, mean, variance):
        return 2 * mean, 4 * variance


class Joined(layers.Layer):
    def call(self, parts):
        return parts[0] + 3.0 * parts[1], parts[1]

    def get_signal_moments(self, mean, variance):
        return mean[0] + 3 * mean[1], variance[0] + 9 * variance[1]


def test_a_layer_that_says_it_itself():
    model = keras.Sequential([keras.Input((16,)), Twice(), Twice()])
    report = propagate(model, 3.0, 0.5, strict=True)
    found = [(r.mean, r.variance) for r in report.records]
    np.testing.assert_allclose(found, [(6.0, 2.0), (12.0, 8.0)])


def test_several_inputs_and_outputs():
    """Their moments come in lists."""
    a, b = keras.Input((8,)), keras.Input((8,))
    model = keras.Model([a, b], layers.Dense(4)(Joined()([a, b])[0]))
    init = AutoInit([0.0, 1.0], [1.0, 1.0], seed=0)
    init.initialize_model(model, strict=True)
    expected = pytest.approx((8 * (9 + 10)) ** -0.5, rel=1e-5)
    assert init.report.records[-1].scale == expected


def test_the_nearest_class_counts():
    """A rule and a method go by where they are in the hierarchy."""

    class Constant(layers.Dense):
        def get_signal_moments(self, mean, variance):
            return 0.0, 7.0

    class Registered(Twice):
        pass

    @signal_rule(Registered)
    def five(state, layer, call, args, kwargs):
        before, y = state.signal(args[0]), call(*args, **kwargs)
        return state.give(y, before.replace(second=5 * before.second))

    for layer, second in ((Constant(16), 7.0), (Registered(), 5.0)):
        report = propagate(single(layer, 16), strict=True)
        np.testing.assert_allclose(report.records[0].second, second)


@pytest.mark.parametrize(
    "moments", [None, 1.0, (0.0, -1.0), (float("nan"), 1.0), ("a", 1.0)]
)
def test_what_are_no_moments(moments):
    class Wrong(Twice):
        def get_signal_moments(self, mean, variance):
            return moments

    model = keras.Sequential([keras.Input((16,)), layers.Dense(4), Wrong()])
    message = "`get_signal_moments` of layer"
    with unchanged(model), pytest.raises(ValueError, match=message):
        AutoInit(seed=0).initialize_model(model)
