"""The calls of a model: their names, order, arguments, and what is refused."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from tests.graph.zoo import MODELS
from tfdeep.graph import graph_of, rewrite
from tfdeep.graph.trace import within


def paths(model) -> list[str]:
    return [call.path for call in within(graph_of(model).calls)]


def test_paths_name_models_and_repeated_calls():
    inputs = keras.Input((4,))
    inner = keras.Sequential([keras.Input((4,)), layers.Dense(4, name="low")])
    inner.name = "inner"
    twice = layers.Dense(4, name="twice")
    model = keras.Model(inputs, twice(inner(twice(inputs))) + 1.0)
    assert paths(model) == ["twice", "inner", "inner/low", "twice#2", "add"]


@pytest.mark.parametrize("name", MODELS)
def test_each_call_comes_after_what_it_needs(name):
    model = MODELS[name]()
    graph = graph_of(model)
    assert graph.model is model
    made = {id(tensor) for tensor in keras.tree.flatten(graph.inputs)}
    for call in graph.calls:
        assert {id(tensor) for tensor in call.inputs} <= made
        made.update(map(id, call.outputs))
    assert {id(t) for t in keras.tree.flatten(graph.outputs)} <= made


def test_arguments_are_those_of_the_call():
    inputs = keras.Input((4, 3))
    model = keras.Model(inputs, ops.sum(inputs, axis=1, keepdims=True))
    (call,) = graph_of(model).calls
    assert call.inputs == [inputs] or call.inputs[0] is inputs
    assert type(call.operation).__name__ == "Sum"
    assert call.rank == 3


def by_hand(call):
    """A hand-written model with this `call`, built."""

    class ByHand(keras.Model):
        def __init__(self):
            super().__init__(name="by_hand")
            self.low = layers.Dense(3, name="low")
            self.own = self.add_weight((3,), name="own")

    ByHand.call = call
    model = ByHand()
    model.low.build((None, 4))
    model.built = True
    return model


def test_a_hand_written_model_in_training_mode():
    def call(self, inputs, training=False):
        x = self.low(inputs)
        return ops.relu(x) if training else x

    model = by_hand(call)
    shape = (None, 4)
    assert [c.path for c in graph_of(model, shape).calls] == ["low"]
    graph = graph_of(model, shape, training=True)
    assert [c.path for c in graph.calls] == ["low", "relu"]


@pytest.mark.parametrize("form", ["variable", "tensor", "layer"])
def test_weights_that_are_used_outside_of_layers_are_found(form):
    def call(self, inputs):
        x = self.low(inputs)
        return {
            "variable": lambda: x * self.own,
            "tensor": lambda: x + ops.expand_dims(self.own, 0),
            "layer": lambda: x,
        }[form]()

    read = graph_of(by_hand(call), (None, 4)).read
    assert {v.name for v in read} == (set() if form == "layer" else {"own"})


class Doubled(keras.Model):
    """Made from inputs and outputs, and computes more than they say."""

    def call(self, inputs, training=None):
        return super().call(inputs, training=training) * 2.0


def test_a_call_of_ones_own_counts_not_the_graph_below_it():
    inputs = keras.Input((4,))
    model = Doubled(inputs, layers.Dense(3, name="low")(inputs))
    assert [p for p in paths(model) if "convert" not in p] == [
        "low",
        "multiply",
    ]
    outer = keras.Model(inputs, model(inputs))
    (call,) = graph_of(outer).calls
    assert call.operation is model and not call.parts
    new = rewrite(outer)
    ones = ops.ones((2, 4))
    new.set_weights(model.get_weights())
    assert np.array_equal(new(ones), 2.0 * model.layers[-1](ones))


class TestRefused:
    def test_no_model(self):
        with pytest.raises(TypeError, match="must be a keras.Model. Received"):
            graph_of(layers.Dense(3))

    def test_a_model_that_is_not_built(self):
        with pytest.raises(ValueError, match="must be built"):
            graph_of(keras.Sequential([layers.Dense(3)]))

    def test_conditions_on_values(self):
        def call(self, inputs):
            return self.low(inputs) if bool(inputs[0, 0] > 0) else inputs

        with pytest.raises(ValueError, match="no conditions on values"):
            graph_of(by_hand(call), (None, 4))

    def test_what_returns_no_tensors(self):
        with pytest.raises(ValueError, match="its `call` returned 3"):
            graph_of(by_hand(lambda self, inputs: 3), (None, 4))
