"""What cannot be repeated is refused, with the reason."""

import keras
import pytest
from keras import layers

from tests.helpers import images
from tfdeep.layers import Repeat


class Counting(layers.Layer):
    """Keeps state in Python."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.calls = 0

    def call(self, inputs):
        self.calls += 1
        return inputs * 2.0


class Measuring(layers.Layer):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.mean = keras.metrics.Mean()

    def call(self, inputs):
        return inputs * 1.0


def losing():
    return layers.Dense(4, activity_regularizer="l2")


def splitting():
    inputs = keras.Input((4,))
    return keras.Model(inputs, [inputs, inputs + 1.0])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: layers.Dense(5), r"output of shape \(2, 5\)"),
        (lambda: layers.Activation("relu", dtype="float64"), "dtype float64"),
        (Measuring, "metrics"),
        (splitting, "several outputs"),
        (losing, "a loss that it adds in each call"),
        (Counting, "`calls` that its call changes"),
    ],
)
def test_a_layer_that_cannot_be_repeated_is_refused(make, message):
    layer = Repeat(make(), 2, dtype="float32")
    with pytest.raises(ValueError, match=message):
        layer(images(2, 4))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_repeats": 0}, "Received: num_repeats=0"),
        ({"num_repeats": -2}, "Received: num_repeats=-2"),
        ({"num_repeats": 2.5}, "Received: num_repeats=2.5"),
        ({"num_repeats": True}, "Received: num_repeats=True"),
        ({"num_repeats": "2"}, "Received: num_repeats='2'"),
        ({"num_repeats": float("nan")}, "Received: num_repeats=nan"),
        ({"recompute": "log"}, "Received: recompute='log'"),
        ({"survival_probabilities": [0.5]}, "Received: 1 values"),
        ({"survival_probabilities": []}, "Received: 0 values"),
        ({"survival_probabilities": [0.5, 1.5]}, "Received: .*=1.5"),
        ({"survival_probabilities": [0.5, float("nan")]}, "Received: .*=nan"),
        ({"seed": -1}, "Received: seed=-1"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Repeat(layers.Dense(4), **{"num_repeats": 2, **arguments})


def test_what_is_no_layer_is_refused():
    with pytest.raises(TypeError, match="Received: layer=type"):
        Repeat(layers.Dense, 2)
