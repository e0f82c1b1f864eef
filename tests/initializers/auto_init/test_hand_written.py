"""Subclassed models, which know only the shape they were called with."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import tfdeep
from tests.helpers import arrays
from tests.initializers.auto_init.nets import Chain, mlp
from tfdeep.initializers import AutoInit, propagate


class TwoInputs(keras.Model):
    """A subclassed model that takes a dictionary."""

    def __init__(self):
        super().__init__()
        self.hidden = layers.Dense(64, "relu")
        self.last = layers.Dense(10)

    def call(self, parts):
        joined = ops.concatenate([parts["a"], parts["b"]], -1)
        return self.last(self.hidden(joined))


class AsksForValues(Chain):
    """Nothing shows what it calls but a call on numbers."""

    def build(self, input_shape):
        for layer in self.chain:
            layer.build(input_shape)

    def call(self, x):
        return super().call(x if float(ops.mean(x)) < 9 else 2 * x)


class Forked(keras.Model):
    """Layers, and sums and functions of what they return."""

    def __init__(self):
        super().__init__()
        self.low, self.left, self.right = (layers.Dense(64) for _ in "123")
        self.last = layers.Dense(4)

    def call(self, x):
        x = self.low(x)
        right, left = self.right(x), self.left(ops.relu(x))
        return self.last(right + left)


def test_like_the_same_layers_in_a_graph():
    """Equal seeds, equal weights."""
    hidden = [layers.Dense(64, "relu") for _ in range(9)]
    model = Chain(hidden)
    model(np.zeros((2, 32), "float32"))
    init = AutoInit(seed=0)
    assert init.initialize_model(model) is model
    found = arrays(model.variables)
    AutoInit(seed=0).initialize_model(
        keras.Sequential([keras.Input((32,)), *hidden])
    )
    for one, other in zip(found, arrays(model.variables), strict=True):
        np.testing.assert_array_equal(one, other)
    assert len(init.report) == len(propagate(model)) == 9


def test_operations_too():
    """Sums and functions count as they do in a graph."""
    model = Forked()
    model(np.zeros((2, 32), "float32"))
    init = AutoInit(seed=0)
    init.initialize_model(model)
    found = arrays(model.variables)
    rows = [r.layer for r in init.report.records]
    assert rows == ["Dense", "Dense", "Relu", "Dense", "Add", "Dense"]
    inputs = keras.Input((32,))
    init.initialize_model(keras.Model(inputs, model.call(inputs)))
    for one, other in zip(found, arrays(model.variables), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.slow
def test_many_layers():
    """Scales do not drift, and no stack overflows."""
    model = Chain([layers.Dense(8, "relu") for _ in range(400)])
    inputs = keras.Input((8,), batch_size=16)
    init = AutoInit(seed=0)
    init.initialize_model(keras.Model(inputs, model(inputs)))
    found = [r.scale for r in init.report.records if r.scale is not None]
    expected = [8**-0.5, *[0.5] * 399]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_a_shared_layer_is_set_once():
    """By the signal of its first call."""
    shared = layers.Dense(16, "relu")
    inputs = keras.Input((16,))
    init = AutoInit(seed=0)
    init.initialize_model(keras.Model(inputs, shared(shared(inputs))))
    assert [r.scale for r in init.report.records] == [0.25, 0.25]


def test_several_inputs():
    model = TwoInputs()
    x = np.random.default_rng(0).normal(5, 1, (512, 16)).astype("float32")
    data = {"a": x, "b": 0.1 * x}
    model(data)
    AutoInit.from_data(data, seed=0).initialize_model(model)
    outputs = ops.convert_to_numpy(model(data))
    assert np.mean(np.square(outputs)) == pytest.approx(1, rel=0.5)


def test_a_list_of_inputs():
    class Listed(TwoInputs):
        def call(self, parts):
            return super().call({"a": parts[0], "b": parts[1]})

    model = Listed()
    model([np.zeros((2, 3), "float32"), np.zeros((2, 5), "float32")])
    init = AutoInit(seed=0)
    init.initialize_model(model)
    scales = [r.scale for r in init.report.records if r.scale]
    assert scales[0] == pytest.approx(8**-0.5, rel=1e-5)


def test_several_arguments():
    class Two(keras.Model):
        def __init__(self):
            super().__init__()
            self.last = layers.Dense(2)

        def call(self, a, b):
            return self.last(a + b)

    model = Two()
    model(np.ones((2, 3), "float32"), np.ones((2, 3), "float32"))
    with pytest.raises(ValueError, match="one argument for all inputs"):
        AutoInit().initialize_model(model)


def test_a_call_that_needs_values():
    class Needs(Chain):
        def call(self, x):
            return super().call(x) if float(ops.mean(x)) < 9 else x

    model = Needs([layers.Dense(3)])
    model(np.ones((2, 3), "float32"))
    with pytest.raises(ValueError, match="Use keras.ops in its `call`"):
        AutoInit().initialize_model(model)


def test_of_which_the_shapes_are_known():
    """It is watched while it runs: equal seeds, equal weights."""
    hidden = [layers.Dense(32, "relu") for _ in range(3)]
    model = AsksForValues(hidden)
    model(np.zeros((2, 32), "float32"))
    init = AutoInit(seed=0)
    init.initialize_model(model)
    assert [r.layer for r in init.report.records] == ["Dense"] * 3
    found = arrays(model.variables)
    AutoInit(seed=0).initialize_model(
        keras.Sequential([keras.Input((32,)), *hidden])
    )
    for one, other in zip(found, arrays(model.variables), strict=True):
        np.testing.assert_array_equal(one, other)


def test_weights_that_are_read_by_hand_count_as_they_are_then():
    """A trace would have kept the values from before."""

    class Tied(keras.Model):
        def __init__(self):
            super().__init__()
            self.low = layers.Dense(64, use_bias=False)
            self.last = layers.Dense(64)

        def call(self, x):
            x = self.low(x)
            return self.last(ops.matmul(x, ops.transpose(self.low.kernel)))

    model = Tied()
    model(np.zeros((2, 32), "float32"))
    model.low.kernel.assign(100 * model.low.kernel)
    init = AutoInit(seed=0)
    init.initialize_model(model)
    # W^T W x of weights with variance 1 / 32 has about 64 / 32 + 3 times x.
    assert init.report.records[-1].scale == pytest.approx(
        (32 * (64 / 32) * (64 / 32 + 1)) ** -0.5, rel=0.2
    )


def test_what_cannot_be_known():
    """Which inputs are integers: data say it."""
    words = Chain([layers.Embedding(5, 4), layers.Dense(2)])
    words(np.zeros((2, 3), "int32"))
    with pytest.raises(ValueError, match="from data: AutoInit"):
        AutoInit().initialize_model(words)
    x = np.arange(60).reshape(20, 3) % 5
    AutoInit.from_data(x, seed=0).initialize_model(words)


def test_a_mask_travels_with_the_sample():
    """Of one word and padding the word alone is averaged."""
    model = Chain(
        [
            layers.Embedding(50, 512, mask_zero=True),
            layers.GlobalAveragePooling1D(),
        ]
    )
    x = np.tile([3, 0, 0, 0], (8, 1))
    model(x)
    init = AutoInit.from_data(x, seed=0)
    init.initialize_model(model)
    assert init.report.records[-1].second == pytest.approx(1.0, rel=0.2)


def test_wrappers():
    """It is the model inside that is initialized."""
    wrapper = tfdeep.BatchEntropyRegularizer(mlp())
    with pytest.raises(TypeError, match="Pass its `base`"):
        AutoInit().initialize_model(wrapper)
