"""Where AutoInit takes the inputs from, and which data it refuses."""

import warnings

import keras
import numpy as np
import pytest
from keras import layers

from tests.initializers.auto_init.nets import mlp, single
from tests.initializers.unchanged import unchanged
from tfdeep.initializers import AutoInit, propagate


def test_data_have_mean_and_variance():
    """Those of all values together."""
    x = np.random.default_rng(0).normal(3.0, 0.5, (200, 32))
    init = AutoInit.from_data(x, seed=0)
    assert init.input_mean == pytest.approx([x.mean()])
    assert init.input_variance == pytest.approx([x.var()])
    init.initialize_model(mlp(1))
    expected = pytest.approx((32 * np.mean(x**2)) ** -0.5, rel=1e-6)
    assert init.report.records[0].scale == expected
    report = propagate(mlp(1), data=x)
    assert report.records[0].second > 2.0 * propagate(mlp(1)).records[0].second


def test_nested_models_and_several_inputs():
    a, b = keras.Input((8,)), keras.Input((8,))
    inner = keras.Sequential([keras.Input((8,)), layers.Dense(8, "relu")])
    joined = layers.Concatenate()([inner(a), b])
    model = keras.Model([a, b], layers.Dense(4)(joined))
    init = AutoInit([0.0, 1.0], [1.0, 3.0], seed=0)
    init.initialize_model(model)
    second = init.report.records[-1]
    np.testing.assert_allclose(
        second.scale, (16 * (0.5 + 4.0) / 2) ** -0.5, rtol=1e-5
    )


def test_a_dict_of_inputs():
    """Statistics and data go by name."""
    a, b = keras.Input((8,), name="a"), keras.Input((4,), name="b")
    outputs = layers.Dense(4)(layers.Concatenate()([b, a]))
    model = keras.Model({"b": b, "a": a}, outputs)
    init = AutoInit({"a": 0.0, "b": 2.0}, {"a": 1.0, "b": 5.0}, seed=0)
    init.initialize_model(model)
    np.testing.assert_allclose(
        init.report.records[-1].scale, (8 * 1 + 4 * 9) ** -0.5, rtol=1e-5
    )
    data = {"a": np.ones((6, 8)), "b": np.zeros((6, 4))}
    init = AutoInit.from_data(data, seed=0)
    init.initialize_model(model)
    np.testing.assert_allclose(
        init.report.records[-1].scale, 8**-0.5, rtol=1e-5
    )


@pytest.mark.parametrize("make", [lambda a, b: [b, a], lambda a, b: [a, b]])
def test_a_dict_for_a_list_of_inputs_goes_by_name(make):
    a, b = keras.Input((8,), name="a"), keras.Input((8,), name="b")
    outputs = [layers.Dense(4, name="of_a")(a), layers.Dense(4)(b)]
    model = keras.Model(make(a, b), outputs)
    x = np.random.default_rng(0).standard_normal((64, 8))
    for init in (
        AutoInit(0.0, {"a": 100.0, "b": 1.0}, seed=0),
        AutoInit.from_data({"a": 10 * x, "b": x, "more": x}, seed=0),
    ):
        init.initialize_model(model)
        expected = pytest.approx(800**-0.5, rel=0.1)
        assert init.report["of_a"].scale == expected


def test_integer_inputs_and_a_mask():
    inputs = keras.Input((12,), dtype="int32")
    x = layers.Embedding(50, 16, mask_zero=True)(inputs)
    x = layers.MultiHeadAttention(2, 8)(x, x)
    init = AutoInit(seed=0)
    init.initialize_model(keras.Model(inputs, layers.LSTM(8)(x)))
    assert init.report["embedding"].scale == 1.0
    assert np.isfinite([r.second for r in init.report.records]).all()


def test_unknown_sizes_and_half_precision():
    inputs = keras.Input((None, None, 3))
    conv = layers.Conv2D(8, 3, activation="relu", dtype="mixed_float16")
    x = layers.GlobalAveragePooling2D()(conv(inputs))
    init = AutoInit(seed=0)
    init.initialize_model(keras.Model(inputs, layers.Dense(2)(x)))
    np.testing.assert_allclose(
        init.report.records[0].scale, 27**-0.5, rtol=1e-5
    )


def test_sizes_that_are_tried_and_do_not_do():
    """The message says which, and data give others."""

    def model():
        x = inputs = keras.Input((None, None, 3))
        for _ in range(4):
            x = layers.Conv2D(4, 5, strides=2)(x)
        return keras.Model(inputs, layers.GlobalMaxPooling2D()(x))

    small = model()
    message = "or 32 must do.*from_data"
    with unchanged(small), pytest.raises(ValueError, match=message):
        AutoInit().initialize_model(small)
    x = np.random.default_rng(0).standard_normal((8, 80, 80, 3))
    AutoInit.from_data(x).initialize_model(model())


def test_a_batch_of_fixed_size():
    inputs = keras.Input((8,), batch_size=16)
    x = keras.ops.reshape(layers.Dense(8)(inputs), (4, 32))
    init = AutoInit(seed=0)
    init.initialize_model(keras.Model(inputs, layers.Dense(2)(x)))
    assert init.report.records[-1].scale == pytest.approx(32**-0.5)


# What is refused, and that nothing changed.


@pytest.mark.parametrize(
    "data,message",
    [
        (np.ones((5, 31)), "array of shape .5, 31."),
        (np.ones((0, 32)), "Received: input_mean=nan"),
        (np.full((5, 32), np.nan), "Received: input_mean=nan"),
        ([np.ones((5, 32))] * 2, "Received: 2 arrays"),
        (np.full((5, 32), "a", "U"), "Received: text"),
        (np.full((5, 32), "a", "S"), "Received: text"),
        (np.full((5, 32), "a", "O"), "Received: text"),
    ],
)
def test_bad_data(data, message):
    model = mlp()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # NumPy's, of an empty mean.
        with unchanged(model), pytest.raises(ValueError, match=message):
            AutoInit.from_data(data).initialize_model(model)


@pytest.mark.parametrize(
    "data,message",
    [
        ({"a": np.ones((5, 8)), "c": np.ones((5, 8))}, "Received: 'a', 'c'"),
        ({"a": np.ones((5, 8)), "b": np.ones((4, 8))}, r"\[5, 4\] samples"),
    ],
)
def test_bad_data_for_several_inputs(data, message):
    inputs = {name: keras.Input((8,), name=name) for name in "ab"}
    outputs = layers.Dense(2)(layers.Add()(list(inputs.values())))
    model = keras.Model(inputs, outputs)
    with unchanged(model), pytest.raises(ValueError, match=message):
        AutoInit.from_data(data).initialize_model(model)


class Batches(keras.utils.PyDataset):
    def __len__(self):
        return 2

    def __getitem__(self, index):
        return np.ones((3, 8)), np.zeros(3)


@pytest.mark.parametrize(
    "data,message",
    [
        ("abc", "a single text"),
        (None, "a NoneType of dtype object"),
        ({"a": ["b"]}, "a single text"),
        (Batches(), "a Batches of dtype object"),
        (np.ones((3, 8), "O"), "a ndarray of dtype object"),
        (np.ones((3, 8), "complex64"), "a ndarray of dtype complex64"),
        (np.zeros((3, 8), "datetime64[s]"), "a ndarray of dtype datetime64"),
    ],
)
def test_data_of_no_numbers(data, message):
    with pytest.raises(TypeError, match=f"must be numbers or text.*{message}"):
        AutoInit.from_data(data)


# Data sets of TensorFlow.


@pytest.mark.tensorflow
def test_a_data_set_whose_lengths_differ():
    """Batches of the first length count."""
    import tensorflow as tf

    def batches():
        for length, value in ((3, 2.0), (4, 9.0), (3, 2.0)):
            yield np.full((2, length, 8), value), np.zeros(2)

    of = tf.TensorSpec((2, None, 8)), tf.TensorSpec(2)
    dataset = tf.data.Dataset.from_generator(batches, output_signature=of)
    init = AutoInit.from_data(dataset, seed=0)
    model = single(layers.Dense(4), None, 8)
    init.initialize_model(model)
    assert init.report.records[0].scale == pytest.approx(32**-0.5)


@pytest.mark.tensorflow
def test_an_empty_data_set():
    """There is nothing to take the moments of."""
    import tensorflow as tf

    dataset = tf.data.Dataset.from_tensor_slices(np.zeros((0, 8))).batch(2)
    with pytest.raises(ValueError, match="empty data set"):
        AutoInit.from_data(dataset)


@pytest.mark.tensorflow
@pytest.mark.parametrize("dtype", ["complex64", "bfloat16"])
def test_a_data_set_of_numbers_of_another_kind(dtype):
    """Half precision is taken, complex numbers are refused."""
    import tensorflow as tf

    x = tf.cast(np.arange(24).reshape(3, 8), dtype)
    for data in (x, tf.data.Dataset.from_tensors(x)):
        if dtype == "complex64":
            with pytest.raises(
                TypeError, match="must be numbers or text.*complex64"
            ):
                AutoInit.from_data(data)
        else:
            init = AutoInit.from_data(data, seed=0)
            assert init.input_mean == [11.5]
            init.initialize_model(mlp(1, inputs=8))
