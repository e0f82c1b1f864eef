"""Data for GradInit: what it is cut into, and what is refused."""

import keras
import numpy as np
import pytest
from keras import layers

from tests.helpers import images
from tests.initializers.grad_init.nets import (
    LOGITS,
    HandWritten,
    labelled,
    mlp,
    quick,
)
from tests.initializers.unchanged import unchanged
from tfdeep.initializers.half_batches import half_batches


def test_half_batches_of_arrays_are_shuffled_and_endless():
    """Labels stay with their inputs, and a seed repeats the order."""
    x = np.arange(10.0)
    stream = half_batches((x, -x), 8, seed=3)
    taken = [next(stream) for _ in range(6)]
    assert all(part[0].shape == (4,) for part in taken)
    assert all(part[0].dtype == "float32" for part in taken)
    assert all(np.array_equal(a, -b) for a, b, _ in taken)
    one_pass = np.concatenate([part[0] for part in taken[:2]])
    assert len(set(one_pass.tolist())) == 8
    assert one_pass.tolist() != sorted(one_pass)
    second_pass = np.concatenate([part[0] for part in taken[2:4]])
    assert second_pass.tolist() != one_pass.tolist()
    again = half_batches((x, -x), 8, seed=3)
    assert all(np.array_equal(next(again)[0], part[0]) for part in taken)


def test_batches_are_cut_in_two_and_start_again():
    """All halves are of one size: of a short batch a rest is left out."""
    x = np.arange(11)
    batches = [(x[:4], x[:4]), (x[4:8], x[4:8]), (x[8:], x[8:])]
    stream = half_batches(batches, 0, None)
    taken = [next(stream)[0].tolist() for _ in range(6)]
    assert taken == [[0, 1], [2, 3], [4, 5], [6, 7], [8, 9], [0, 1]]


class Sequence(keras.utils.PyDataset):
    def __len__(self):
        return 2

    def __getitem__(self, index):
        return labelled(16)


@pytest.mark.parametrize("count", [2, None])
def test_a_data_set_that_states_how_many_batches_it_has(count):
    class Stated(keras.utils.PyDataset):
        num_batches = count

        def __getitem__(self, index):
            return np.full((2, 1), index), np.full(2, index)

    stream = half_batches(Stated(), 0, None)
    taken = [int(next(stream)[1][0]) for _ in range(8)]
    assert taken == ([0, 0, 1, 1] * 2 if count else [0, 0, 1, 1, 2, 2, 3, 3])


def test_sources_of_data(eager):
    """Arrays, batches, generators and a PyDataset, with and without weights."""
    x, y = labelled(16)
    weights = np.ones(16, "float32")
    sources = {
        "arrays": (x, y),
        "weighted arrays": (x, y, weights),
        "batches": [(x, y)],
        "weighted batches": [(x, y, weights)],
        "lists": [[x, y]],
        "generator": ((x, y) for _ in range(2)),
        "PyDataset": Sequence(),
    }
    scales = {}
    for name, source in sources.items():
        keras.utils.set_random_seed(0)
        model, init = mlp(), quick(1, overlap=False, seed=0)
        init.initialize_model(model, source, batch_size=8)
        scales[name] = init.scales.values(), init.history["loss"]
    arrays = {name: [*map(list, value)] for name, value in scales.items()}
    assert arrays["arrays"] == arrays["weighted arrays"]
    for name in ("weighted batches", "lists", "generator", "PyDataset"):
        assert arrays[name] == arrays["batches"], name


@pytest.mark.tensorflow
def test_a_tf_data_set():
    """It starts again when it ends."""
    import tensorflow as tf

    x, y = labelled(16)
    dataset = tf.data.Dataset.from_tensor_slices((x, y)).batch(8)
    assert next(half_batches(dataset, 0, None))[0].shape == (4, 4)
    init = quick(4)
    init.initialize_model(mlp(), dataset)
    assert len(init.history["loss"]) == 4


def test_several_inputs_and_outputs(eager):
    """They come in dicts, as in `fit`."""
    a, b = keras.Input((3,), name="a"), keras.Input((2,), name="b")
    joined = layers.Concatenate()([a, b])
    model = keras.Model(
        {"a": a, "b": b},
        {
            "one": layers.Dense(1, name="one")(joined),
            "two": layers.Dense(2, name="two")(joined),
        },
    )
    model.compile("sgd", {"one": "mse", "two": "mae"})
    x = {"a": images(8, 3), "b": images(8, 2)}
    y = {"one": images(8, 1), "two": images(8, 2)}
    init = quick(1, gamma=1e3)
    assert init.initialize_model(model, (x, y), batch_size=8) is model
    assert all(scale != 1 for scale in init.scales.values())
    model.train_on_batch(x, y)


# What is refused, and that nothing moved.


@pytest.mark.parametrize(
    "data,message",
    [
        ((images(8, 4), None), "labels of shape None"),
        ((images(8, 4), np.array(["a"] * 8)), "labels .*dtype <U1"),
        ((images(8, 4), np.full(8, None)), "labels .*dtype object"),
        ((images(8, 4), np.ones(8, "c8")), "labels .*dtype complex64"),
        ((images(8, 4), np.arange(7)), "same number of samples"),
        (labelled(3), "4 samples of a half-batch.*3 samples"),
        ([(images(1, 4), np.zeros(1))], "batches of 1"),
        ([], "ended after 0"),
        ([images(8, 4)], "inputs and labels"),
        ([(images(8, 4),)], "inputs and labels"),
    ],
)
def test_data_that_does_not_do(data, message):
    """The message says what came."""
    model = mlp()
    with unchanged(model), pytest.raises(ValueError, match=message):
        quick().initialize_model(model, data, batch_size=8)


def test_a_generator_that_ends(eager):
    """It cannot be run through again."""
    model, data = mlp(), (labelled(8) for _ in range(1))
    message = "ended after 2 half-batches.*run through again"
    with unchanged(model), pytest.raises(ValueError, match=message):
        quick().initialize_model(model, data)


def test_data_of_another_type():
    """A number is no data."""
    with pytest.raises(TypeError, match="Received: data=int"):
        quick().initialize_model(mlp(), 3)


TEXT = np.array([["a b", "b", "c", ""]] * 8)
TEXTS = [TEXT, TEXT.astype("S"), TEXT.astype("O")]


@pytest.mark.parametrize("hand_written", [False, True])
def test_text_for_a_model_of_numbers(hand_written):
    """Of any of the three types that NumPy has for text."""
    model = HandWritten() if hand_written else mlp()
    model.compile("sgd", LOGITS)
    model(images(2, 4))
    message = "^`data` must .*Received: text[^\n]*$"
    for text in TEXTS:
        with unchanged(model), pytest.raises(ValueError, match=message):
            quick().initialize_model(model, (text, np.zeros(8)), batch_size=8)


@pytest.mark.tensorflow
def test_text_for_a_model_of_text(eager):
    """It is taken, and numbers are refused."""
    words = layers.TextVectorization(
        output_sequence_length=2, vocabulary=["a", "b", "c"]
    )
    model = keras.Sequential(
        [
            keras.Input((1,), dtype="string"),
            words,
            layers.Embedding(5, 4),
            layers.Flatten(),
            layers.Dense(3),
        ]
    )
    y = np.arange(8) % 3
    for text in TEXTS:
        init = quick(1)
        init.initialize_model(model, [(text[:, :1], y)], LOGITS)
        assert np.isfinite(init.history["norm"]).all()
    with pytest.raises(ValueError, match="Received: numbers"):
        quick(1).initialize_model(model, [(images(8, 1), y)], LOGITS)


@pytest.mark.parametrize(
    "x,message",
    [
        (np.ones((8, 4), "O"), "inputs .*dtype object"),
        (np.full((8, 4), None), "inputs .*dtype object"),
        (np.zeros((8, 4), "datetime64[s]"), "inputs .*dtype datetime64"),
        (np.ones((8, 4), "complex64"), "Received: complex numbers"),
        ([images(8, 4), TEXT], "input 'two'.*Received: text"),
        ({"two": TEXT, "one": images(8, 4)}, "input 'two'.*Received: text"),
    ],
)
def test_inputs_that_are_no_numbers(x, message):
    """Of several the message has the name."""
    model = mlp()
    if isinstance(x, (list, dict)):
        inputs = [keras.Input((4,), name=name) for name in ("one", "two")]
        outputs = layers.Dense(3)(layers.Add()(inputs))
        model = keras.Model(inputs, outputs)
        model.compile("sgd", LOGITS)
    with unchanged(model), pytest.raises(ValueError, match=message):
        quick().initialize_model(model, (x, np.zeros(8)), batch_size=8)
