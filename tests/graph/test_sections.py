"""Calls that become one, and calls in the place of one."""

import keras
import numpy as np
import pytest
from keras import layers

from tests.helpers import arrays, images
from tfdeep.graph import Instead, Section, graph_of, rewrite
from tfdeep.layers import Recompute


def model_of_three():
    inputs = keras.Input((4,), name="in")
    x = inputs
    for name in ("low", "middle", "high"):
        x = layers.Dense(4, "tanh", name=name)(x)
    return keras.Model(inputs, x)


def tensors(graph) -> dict:
    return {call.path: call.outputs[0] for call in graph.calls}


def recomputed(part):
    return Recompute(part, name="part")


def names(model) -> list:
    return [layer.name for layer in model.layers]


def test_calls_become_one_and_are_written_out_again():
    model, x = model_of_three(), images(3, 4)
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), "mse")
    model.fit(x, x, verbose=0)
    graph = graph_of(model)
    made = tensors(graph)
    section = Section(made["low"], made["high"], recomputed)
    new = rewrite(graph, sections=[section])
    assert names(new) == ["in", "low", "part"]
    assert names(new.layers[2].layer)[1:] == ["middle", "high"]
    np.testing.assert_array_equal(new(x), model(x))
    for one, other in zip(
        arrays(new.optimizer.momentums),
        arrays(model.optimizer.momentums),
        strict=True,
    ):
        np.testing.assert_array_equal(one, other)

    def plain(call, args, kwargs):
        if isinstance(call.operation, Recompute):
            return Instead(call.operation.layer)

    again = rewrite(new, plain)
    assert names(again) == names(model)
    np.testing.assert_array_equal(again(x), model(x))
    for one, other in zip(
        arrays(again.optimizer.momentums),
        arrays(model.optimizer.momentums),
        strict=True,
    ):
        np.testing.assert_array_equal(one, other)


def test_a_section_within_another():
    model, x = model_of_three(), images(3, 4)
    graph = graph_of(model)
    made = tensors(graph)
    outer = Section(graph.inputs, made["high"], recomputed)
    inner = Section(
        made["low"], made["middle"], lambda part: Recompute(part, name="inner")
    )
    new = rewrite(graph, sections=[inner, outer])
    assert names(new) == ["in", "part"]
    assert names(new.layers[1].layer)[1:] == ["low", "inner", "high"]
    np.testing.assert_array_equal(new(x), model(x))


def test_a_layer_between_two():
    model, x = model_of_three(), images(3, 4)
    graph = graph_of(model)
    low = tensors(graph)["low"]
    asked = []

    def scaled(part):
        asked.append(part)
        return layers.Rescaling(2.0, name="scale")

    new = rewrite(graph, sections=[Section(low, low, scaled)])
    assert names(new) == ["in", "low", "scale", "middle", "high"]
    assert asked == [None]
    bottom, middle, high = model.layers[1:]
    np.testing.assert_allclose(new(x), high(middle(2 * bottom(x))), 1e-6)


def test_sections_in_nested_and_hand_written_models():
    class ByHand(keras.Model):
        def __init__(self):
            super().__init__(name="by_hand")
            self.inner = model_of_three()
            self.inner.name = "inner"

        def call(self, inputs):
            return self.inner(inputs) * 2.0

    model, x = ByHand(), images(3, 4)
    model(x)
    graph = graph_of(model)
    parts = {call.path: call.outputs[0] for call in graph.calls[0].parts}
    section = Section(parts["inner/low"], parts["inner/high"], recomputed)
    new = rewrite(graph, sections=[section])
    assert names(new.get_layer("inner")) == ["in", "low", "part"]
    np.testing.assert_array_equal(new(x), model(x))


def test_the_same_layers_called_alike_are_one_model():
    inputs = keras.Input((4,))
    low, high = layers.Dense(4, name="low"), layers.Dense(4, name="high")
    first = high(low(inputs))
    second = high(low(first))
    third = low(high(second))
    graph = graph_of(keras.Model(inputs, third))
    parts = []

    def kept(part):
        parts.append(part)
        return Recompute(part)

    rewrite(
        graph,
        sections=[
            Section(begin, end, kept)
            for begin, end in (
                (inputs, first),
                (first, second),
                (second, third),
            )
        ],
    )
    assert parts[0] is parts[1] and parts[0] is not parts[2]


def test_another_layer_of_the_model_instead():
    model, x = model_of_three(), images(3, 4)
    low = model.get_layer("low")

    def low_again(call, args, kwargs):
        return Instead(low) if call.path == "high" else None

    new = rewrite(model, low_again)
    assert names(new) == ["in", "low", "middle"]
    expected = low(model.get_layer("middle")(low(x)))
    np.testing.assert_allclose(new(x), expected, 1e-6)


@pytest.mark.parametrize("optimizer", ["keep", "new"])
def test_a_graph_is_compiled_as_its_model(optimizer):
    model = model_of_three()
    model.compile(keras.optimizers.Adam(0.3), "mse")
    new = rewrite(graph_of(model), optimizer=optimizer)
    assert float(new.optimizer.learning_rate) == pytest.approx(0.3)
