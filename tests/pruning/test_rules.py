"""Every layer and operation of Keras has a rule, or is named here."""

import inspect
import warnings

import keras
import numpy as np
import pytest
from keras import layers, ops

import tfdeep
from tests.pruning.zoo import conv, filled, head, inputs_for
from tfdeep.graph.registry import plain
from tfdeep.pruning import ChannelGraph, Channels, Random, channel_rule, verify
from tfdeep.pruning.registry import kinds

# Classes that are never called by themselves.
ABSTRACT = ("InputLayer", "Layer")
# Operations that make no tensor from one with channels, or that this package
# reads no labels through: what they take is frozen, with a warning.
NO_CHANNELS = """
    allclose arange array bartlett blackman cholesky cholesky_inverse
    convert_to_numpy convert_to_tensor ctc_decode custom_gradient det dtype eig
    eigh empty eye full geomspace hamming hanning identity inv is_tensor jvp
    kaiser linspace logdet logspace lstsq lu_factor matrix_rank ndim nonzero
    ones pinv qr searchsorted shape size slogdet solve solve_triangular svd tri
    unravel_index vander vectorize zeros
    """.split()


def classes() -> dict:
    found = vars(layers).items()
    return {
        kind: name
        for name, kind in found
        if inspect.isclass(kind) and issubclass(kind, layers.Layer)
    }


@pytest.mark.parametrize("kind", classes())
def test_each_class_of_keras_has_a_rule(kind):
    assert kind in kinds() or kind.__name__ in ABSTRACT


def test_each_operation_of_keras_has_a_rule():
    known = {k for k in kinds() if isinstance(k, str)}
    missing = [
        name
        for name, function in vars(ops).items()
        if callable(function)
        and not name.startswith("_")
        and plain(name) not in known
        and plain(name) not in {plain(each) for each in NO_CHANNELS}
    ]
    assert missing == []


class Own(layers.Layer):
    """No rule says what it does with channels."""

    def call(self, inputs):
        return ops.sort(inputs, axis=-1)

    def compute_output_shape(self, input_shape):
        return input_shape


class OwnDense(layers.Dense):
    """Computes in another way than its parent."""

    def call(self, inputs):
        return super().call(inputs[..., ::-1])


def of(*parts):
    model = keras.Sequential([keras.Input((4,)), layers.Dense(6, name="low")])
    for part in parts:
        model.add(part)
    model.add(layers.Dense(2, name="out"))
    return model


@pytest.mark.parametrize("kind", [Own, lambda: OwnDense(5)])
def test_what_is_unknown_is_frozen_with_a_warning(kind):
    layer = kind()
    with pytest.warns(UserWarning, match=f"1 x {type(layer).__name__}"):
        graph = ChannelGraph(of(layer))
    assert graph.free == []
    assert graph.groups[0].reason.endswith("has no rule")
    with pytest.raises(ValueError, match="has none. Add one"):
        ChannelGraph(of(kind()), on_unknown="error")
    with pytest.raises(ValueError, match="`on_unknown`"):
        ChannelGraph(of(kind()), on_unknown="skip")


def test_a_rule_of_ones_own():
    class Twice(layers.Layer):
        def build(self, input_shape):
            self.scale = self.add_weight((input_shape[-1],), "ones")

        def call(self, inputs):
            return ops.concatenate([inputs, inputs * self.scale], axis=-1)

    @channel_rule(Twice)
    def twice(call):
        (x,) = call.inputs
        labels = call.on(x, -1, 2)
        call.scales(call.layer.scale, 0, labels)
        return Channels(1, np.tile(labels, 2))

    model = filled(of(Twice()))
    graph = ChannelGraph(model)
    plan = graph.plan(Random(seed=0).scores(graph), ratio=0.5)
    small = plan.compact(model)
    assert small.get_layer("low").units == 3
    assert verify(model, small, plan, inputs_for(model)).exact


FROZEN = {
    "attention": lambda x: layers.Attention()([x, x]),
    "time_distributed": lambda x: layers.TimeDistributed(layers.Dense(3))(x),
    "bidirectional": lambda x: layers.Bidirectional(layers.LSTM(2))(x),
    "dot": lambda x: layers.Dot(2)([x, x]),
    "masking": lambda x: layers.Masking()(x),
    "lambda": lambda x: layers.Lambda(lambda t: t + 1.0)(x),
    "softmax": lambda x: layers.Softmax()(x),
    "spectral": lambda x: layers.SpectralNormalization(layers.Dense(3))(x),
    "mean": lambda x: ops.mean(x, axis=-1, keepdims=True),
    "strided": lambda x: x[..., ::2],
    "constant": lambda x: x * np.arange(6, dtype="float32"),
    "einsum": lambda x: ops.einsum("btc,btd->bcd", x, x),
    "flattened": lambda x: ops.reshape(x, (-1, 3)),
    "product": lambda x: ops.matmul(ops.transpose(x, (0, 2, 1)), x)[:, :, :2],
    "random_image": lambda x: layers.Dense(2)(x) + ops.cumsum(x, -1)[..., :1],
}


@pytest.mark.parametrize("name", FROZEN)
def test_what_cannot_be_followed_is_frozen_by_name(name):
    i = keras.Input((5, 4))
    x = layers.Dense(6, name="low")(i)
    model = keras.Model(i, layers.Dense(2, name="out")(FROZEN[name](x)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        graph = ChannelGraph(model)
    low = next(group for group in graph.groups if group.name == "low")
    assert low.frozen and low.reason != "it is fixed"
    assert "returns" not in low.reason


def test_outputs_and_feature_outputs_are_frozen():
    i = keras.Input((6, 6, 3))
    x = conv(8, "features")(i)
    y = conv(4, "inner")(layers.ReLU()(x))
    graph = ChannelGraph(keras.Model(i, [head(y), x]))
    reasons = {g.name: g.reason for g in graph.groups}
    assert reasons == {
        "features": "the model returns them",
        "inner": None,
        "out": "the model returns them",
    }


def test_a_softmax_of_outputs_is_an_output():
    i = keras.Input((4,))
    x = layers.Dense(3, "softmax", name="out")(i)
    (group,) = ChannelGraph(keras.Model(i, x)).groups
    assert group.reason == "the model returns them"


def test_a_layer_that_is_called_on_other_channels():
    """One call takes what is fixed, so that the other cannot go."""
    i = keras.Input((4,))
    twice = layers.Dense(5, name="twice")
    a, b = layers.Dense(4, name="a")(i), i
    x = twice(a) + twice(b)
    graph = ChannelGraph(keras.Model(i, layers.Dense(2, name="out")(x)))
    assert {g.name: g.frozen for g in graph.groups} == {
        "a": True,
        "twice": False,
        "out": True,
    }


def test_members_say_what_goes_along():
    i = keras.Input((6, 6, 3))
    x = conv(8, "a")(i)
    x = layers.BatchNormalization(name="norm")(x)
    model = keras.Model(i, head(conv(4, "b")(x)))
    group, *_ = ChannelGraph(model).free
    found = {
        (m.layer.name, m.variable.name, m.axis, m.role) for m in group.members
    }
    assert found == {
        ("a", "kernel", 3, "out"),
        ("a", "bias", 0, "parameter"),
        ("norm", "gamma", 0, "parameter"),
        ("norm", "beta", 0, "parameter"),
        ("norm", "moving_mean", 0, "parameter"),
        ("norm", "moving_variance", 0, "parameter"),
        ("b", "kernel", 2, "in"),
    }


def test_the_report(tmp_path):
    graph = ChannelGraph(of())
    assert str(graph).splitlines()[1].split() == ["low", "6", "3", "free"]
    assert graph.to_dict()["groups"][0]["members"][0]["role"] == "out"
    graph.save(tmp_path / "graph.json")
    assert (tmp_path / "graph.json").stat().st_size > 100


def test_a_rule_that_is_wrong_says_so():
    @channel_rule("tests.pruning>Wrong")
    def wrong(call):
        call.scales(call.layer.scale, 0, np.arange(3))

    @keras.saving.register_keras_serializable("tests.pruning")
    class Wrong(layers.Layer):
        def build(self, input_shape):
            self.scale = self.add_weight((input_shape[-1],))

        def call(self, inputs):
            return inputs * self.scale

    with pytest.raises(ValueError, match="each of the 6 slices on axis 0"):
        ChannelGraph(of(Wrong()))


@pytest.mark.parametrize("kind", [3, "", None, keras.losses.MeanSquaredError])
def test_only_layers_and_operations_have_rules(kind):
    with pytest.raises(TypeError, match="`channel_rule` takes classes"):
        channel_rule(kind)
    assert tfdeep.pruning.channel_rule is channel_rule
