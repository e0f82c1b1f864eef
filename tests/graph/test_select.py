"""Which layers are hidden, how they are named, and what is refused."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import tfdeep
from tfdeep.graph.select import chosen, hidden, named
from tfdeep.graph.trace import calls_between, ends, within
from tfdeep.graph.view import tapped_view


def graph(model):
    inputs, outputs = ends(model)
    return calls_between(inputs, outputs), keras.tree.flatten(outputs)


def hidden_paths(model):
    return [call.path for call in hidden(*graph(model))]


def block(name):
    """A nested model of two activated layers."""
    return keras.Sequential(
        [
            keras.Input((4,)),
            layers.Dense(4, "relu", name="first"),
            layers.Dense(4, "tanh", name="second"),
        ],
        name=name,
    )


def nested():
    """Two nested models, the second of which is called twice."""
    inputs = keras.Input((4,))
    x = block("lower")(inputs)
    upper = block("upper")
    outputs = layers.Dense(2, name="out")(upper(upper(x)))
    return keras.Model(inputs, outputs)


def test_activations_are_hidden_in_whatever_form():
    inputs = keras.Input((6, 6, 2))
    x = layers.Conv2D(3, 3, name="conv")(inputs)
    x = layers.BatchNormalization()(x)
    x = layers.ReLU(name="after_norm")(x)
    x = layers.Dropout(0.5)(x)
    x = layers.Conv2D(3, 3, activation="gelu", name="own")(x)
    x = ops.silu(layers.Conv2D(3, 1)(x))
    x = layers.Activation("linear")(x)
    x = tfdeep.layers.BasicBlock(3, name="block")(x)
    x = layers.GlobalAveragePooling2D()(x)
    model = keras.Model(inputs, layers.Dense(5, "softmax", name="out")(x))
    assert hidden_paths(model) == ["after_norm", "own", "silu", "block"]


def test_a_loop_over_copies_is_a_block():
    model = keras.Sequential(
        [
            keras.Input((8, 4)),
            tfdeep.layers.Repeat(layers.Dense(4, "tanh"), 3, name="repeat"),
            tfdeep.ReversibleCapsule(8, 4, 2, name="capsules"),
            layers.Dense(2, "relu"),
        ]
    )
    assert hidden_paths(model) == ["repeat", "capsules"]


def test_frozen_layers_are_hidden_no_less():
    model = keras.Sequential([block("lower"), layers.Dense(1, name="out")])
    expected = hidden_paths(model)
    model.trainable = False
    assert hidden_paths(model) == expected == ["lower/first", "lower/second"]


def test_what_the_model_returns_is_not_hidden():
    inputs = keras.Input((4,))
    x = layers.Dense(4, "relu", name="a")(inputs)
    y = layers.Dense(4, "relu", name="b")(x)
    assert hidden_paths(keras.Model(inputs, [x, y])) == []
    assert hidden_paths(keras.Model(inputs, y)) == ["a"]


def test_nested_models_are_looked_into():
    assert hidden_paths(nested()) == [
        *["lower/first", "lower/second"],
        *["upper/first", "upper/second"],
        *["upper#2/first", "upper#2/second"],
    ]


def test_the_last_layer_of_a_nested_model_may_be_the_output():
    inputs = keras.Input((4,))
    assert hidden_paths(keras.Model(inputs, block("b")(inputs))) == ["b/first"]


def test_names_paths_and_functions():
    calls, outputs = graph(nested())

    def paths(layers):
        return [call.path for call in chosen(calls, outputs, layers)]

    assert paths(["out", "lower/second"]) == ["lower/second", "out"]
    assert paths(["lower"]) == ["lower"]
    assert paths(["upper#2/first"]) == ["upper#2/first"]
    assert paths(["upper"]) == ["upper", "upper#2"]
    assert paths(lambda layer: layer.name == "out") == ["out"]


def test_an_unknown_name_gets_the_nearest():
    with pytest.raises(ValueError, match="'lower/frist'.*mean 'lower/first'"):
        named(graph(nested())[0], "lower/frist")


def test_an_ambiguous_name_gets_the_paths():
    with pytest.raises(ValueError, match="several.*'lower/first', 'upper/fir"):
        named(graph(nested())[0], "first")


def test_one_output_of_a_layer_called_twice_is_asked_for():
    calls, _ = graph(nested())
    with pytest.raises(ValueError, match="called 2 times"):
        named(calls, "upper")
    assert named(calls, "upper#1")[0].path == "upper"


@pytest.mark.parametrize("layers", ["out", 3, None])
def test_layers_of_another_kind(layers):
    with pytest.raises(TypeError, match="Received: layers="):
        chosen(*graph(nested()), layers)


@pytest.mark.parametrize("layers", [[], lambda layer: False])
def test_no_layer_at_all(layers):
    with pytest.raises(ValueError, match="no layer of the model answers"):
        chosen(*graph(nested()), layers)


def test_the_view_shows_what_the_layers_return():
    model, x = nested(), np.ones((2, 4), "float32")
    config = model.get_config()
    inputs, outputs = ends(model)
    calls, _ = graph(model)
    wanted = ["upper#2/first", "lower/second"]
    taps = [named(calls, path)[0] for path in wanted]
    y, (upper, lower) = tapped_view(inputs, outputs, calls, taps)(x)
    _, below, above, last = model.layers
    expected = below(x)
    np.testing.assert_allclose(lower, expected, rtol=1e-6)
    expected = above(expected)
    np.testing.assert_allclose(upper, above.layers[0](expected), rtol=1e-6)
    np.testing.assert_allclose(y, last(above(expected)), rtol=1e-6)
    assert model.get_config() == config


def test_a_deep_net_needs_no_recursion():
    inputs = keras.Input((1,))
    x, scale = inputs, layers.Rescaling(1.0)
    for _ in range(300):
        x = scale(x)
    calls = calls_between(inputs, x)
    assert len(within(calls)) == 300 and calls[-1].path == "rescaling#300"
