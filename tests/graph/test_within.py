"""The calls within a layer or model, run on tensors."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from tfdeep.graph.opening import CannotOpen
from tfdeep.graph.within import program_within
from tfdeep.keras_internals import calls_of
from tfdeep.masks import mask_of


class Block(layers.Layer):
    """Two layers, and arithmetic of its own."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.low = layers.Dense(4, "relu", dtype=self.dtype_policy)
        self.drop = layers.Dropout(0.5, seed=1, dtype=self.dtype_policy)
        self.low.build((None, 4))

    def call(self, x, training=None):
        return {"sum": x + self.drop(self.low(x), training=training), "x": x}


def ran(operation, *args, **kwargs):
    """What the steps return, and what they call."""
    program, inputs = program_within(operation, args, kwargs)
    names = []

    def handler(step, args, kwargs):
        names.append(type(step.operation).__name__)
        return step.operation(*args, **kwargs)

    return program.run(inputs, True, handler), names


def same(one, other):
    for a, b in zip(*map(keras.tree.flatten, (one, other)), strict=True):
        np.testing.assert_array_equal(*map(ops.convert_to_numpy, (a, b)))


def tensor(*shape):
    x = np.random.default_rng(0).normal(size=shape)
    return ops.convert_to_tensor(x.astype("float32"))


def test_what_is_not_made_of_layers():
    assert program_within(layers.Dense(2), (tensor(3, 4),), {}) is None
    assert program_within(layers.Identity(), (tensor(3, 4),), {}) is None


def test_a_layer_in_training():
    """Structure and values are those of the call."""
    block, x = Block(), tensor(3, 4)
    outputs, names = ran(block, x)
    assert names == ["Dense", "Dropout", "Add"]
    assert list(outputs) == ["sum", "x"]
    block.drop.seed_generator.state.assign([1, 0])
    found, _ = ran(block, x)
    block.drop.seed_generator.state.assign([1, 0])
    same(found, block(x, training=True))


def test_layers_do_not_keep_what_was_traced():
    """A summary would show the shapes of the last trace."""
    block = Block()
    ran(block, tensor(3, 4))
    assert calls_of(block.low) == []


def test_numbers_are_taken_in_the_dtype_of_the_layer():
    block = Block(dtype="mixed_float16")
    outputs, _ = ran(block, tensor(3, 4))
    assert {t.dtype for t in keras.tree.flatten(outputs)} == {
        keras.tree.flatten(block(tensor(3, 4)))[0].dtype
    }


def test_masks_come_with_tensors():
    embedding = layers.Embedding(9, 8, mask_zero=True)
    attention = layers.MultiHeadAttention(2, 4)
    ids = np.array([[1, 2, 0, 0]])
    x, again = embedding(ids), embedding(ids)  # A layer may take a mask off.
    expected = attention(x, x)
    found, names = ran(attention, again, again)
    same(found, expected)
    same(mask_of(found), mask_of(expected))
    assert names.count("EinsumDense") == 4


class Forked(layers.Layer):
    def __init__(self):
        super().__init__()
        self.left, self.right = layers.Dense(4), layers.Dense(4)
        self.relu = layers.ReLU()

    def call(self, x):
        right = self.relu(self.right(x))
        return self.left(x) + right


def test_calls_come_in_the_order_in_which_they_are_made():
    """The sum names the left one first."""
    forked = Forked()
    forked(tensor(2, 4))
    program, _ = program_within(forked, (tensor(2, 4),), {})
    layers_called = [step.operation for step in program.steps][:3]
    assert layers_called == [forked.right, forked.relu, forked.left]


def test_a_graph_runs_in_the_order_of_keras():
    """Models and layers within it are one step each."""
    inputs = keras.Input((4,))
    one, two = (layers.Dense(4, name=name) for name in ("one", "two"))
    inner = keras.Sequential([keras.Input((4,)), layers.Dense(4)])
    far = inner(one(inputs))
    model = keras.Model(inputs, layers.Add()([two(inputs), far]))
    expected = [
        each.name
        for each in model.operations
        if not isinstance(each, layers.InputLayer)
    ]
    program, _ = program_within(model, (tensor(2, 4),), {})
    assert [step.operation.name for step in program.steps] == expected
    assert expected[0] == "one"  # Which the sum names last.
    same(ran(model, tensor(2, 4))[0], model(tensor(2, 4)))


def test_a_graph_takes_what_its_inputs_say():
    inputs = keras.Input((4, 1), dtype="float16")
    model = keras.Model(inputs, layers.Flatten()(inputs))
    same(ran(model, np.ones((2, 4)))[0], model(np.ones((2, 4))))


class Twice(keras.Sequential):
    def call(self, inputs, training=None, mask=None):
        return 2.0 * super().call(inputs, training=training, mask=mask)


def test_a_graph_with_a_call_of_its_own():
    twice = Twice([keras.Input((4,)), layers.Dense(4)])
    outputs, names = ran(twice, tensor(2, 4))
    same(outputs, twice(tensor(2, 4)))
    assert names[-2:] == ["Dense", "Multiply"]


class Scaled(Block):
    def __init__(self):
        super().__init__()
        self.scale = self.add_weight(shape=(4,), initializer="ones")

    def call(self, x):
        return self.low(x) * self.scale


def test_weights_that_are_arguments_count_as_they_are():
    scaled, x = Scaled(), tensor(3, 4)
    program, inputs = program_within(scaled, (x,), {})
    scaled.scale.assign([1.0, 2.0, 3.0, 4.0])
    same(program.run(inputs, True), scaled(x))


class ReadsByHand(Block):
    def call(self, x):
        return self.low(x) + 2.0 * self.low.bias


class AsksForValues(Block):
    def call(self, x):
        return self.low(x) if float(ops.mean(x)) < 9 else x


@pytest.mark.parametrize("kind", [ReadsByHand, AsksForValues])
def test_what_cannot_be_traced(kind):
    """A weight would be a constant, or a number is asked for."""
    operation, x = kind(), tensor(3, 4)
    operation(x)
    with pytest.raises(CannotOpen):
        program_within(operation, (x,), {})
