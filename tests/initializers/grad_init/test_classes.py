"""Labels of classes that a model does not have are refused by GradInit."""

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

pytestmark = pytest.mark.usefixtures("eager")


def refused(model, data, message, loss=None):
    """Assert that the labels are refused and nothing is changed."""
    with unchanged(model), pytest.raises(ValueError, match=message):
        quick(1).initialize_model(model, data, loss)


@pytest.mark.parametrize("hand_written", [False, True])
@pytest.mark.parametrize("label", [-1, 3])
def test_labels_of_no_class(label, hand_written):
    """One below the first and one above the last."""
    model = HandWritten() if hand_written else mlp()
    model.compile("sgd", LOGITS)
    model(images(2, 4))
    refused(model, [(images(8, 4), np.full(8, label))], "0 to 2")


def test_a_class_that_is_missing_in_a_later_batch():
    """Every batch is looked at."""
    x, y = labelled(8)
    refused(mlp(), [(x, y), (x, y + 1)], "0 to 2")


def two_heads(named, hand_written=False):
    """A model that tells apart three classes and, elsewhere, five."""
    if hand_written:
        return HandWrittenHeads(named)
    inputs = keras.Input((4,))
    outputs = {
        "three": layers.Dense(3, name="three")(inputs),
        "five": layers.Dense(5, name="five")(inputs),
    }
    return keras.Model(inputs, outputs if named else list(outputs.values()))


class HandWrittenHeads(keras.Model):
    def __init__(self, named):
        super().__init__()
        self.named = named
        self.three, self.five = layers.Dense(3), layers.Dense(5)

    def call(self, x):
        outputs = {"three": self.three(x), "five": self.five(x)}
        return outputs if self.named else list(outputs.values())


# What to compile with, and how many labels of `three` and `five` come.
NAME = "sparse_categorical_crossentropy"
LOSSES = {
    "list": [LOGITS, NAME],
    "one": NAME,
    "function": [keras.losses.sparse_categorical_crossentropy] * 2,
    "dict": {"five": LOGITS, "three": "SparseCategoricalCrossentropy"},
    "partial": [None, LOGITS],
}


CASES = [
    ("list", False, "list"),
    ("one", False, "list"),
    ("one", True, "dict"),
    ("function", False, "tuple"),
    ("dict", True, "dict"),
    ("partial", False, "last"),
    ("partial", False, "list"),
]
# Of a hand-written model Keras does not know what outputs in a list are called.
NAMED_BY_LAYERS = [("dict", False, "dict"), ("dict", False, "list")]


@pytest.mark.slow
@pytest.mark.parametrize(
    "loss,named,labels,hand_written",
    [(*case, False) for case in CASES + NAMED_BY_LAYERS]
    + [(*case, True) for case in CASES],
)
def test_classes_of_several_outputs(loss, named, labels, hand_written):
    """Each output has its own number, however losses and labels come."""
    model = two_heads(named, hand_written)
    model.compile("sgd", LOSSES[loss])
    x = images(8, 4)
    model(x)

    def data(three, five):
        five = np.arange(8) % five
        three = np.arange(8) % three
        y = {
            "list": [three, five],
            "tuple": (three, five),
            "dict": {"three": three, "five": five},
            "last": [five],
        }[labels]
        return [(x, y)]

    quick(1).initialize_model(model, data(3, 5))
    refused(model, data(3, 6), "output .* 0 to 4 .*from 0 to 5")
    if loss != "partial":
        refused(model, data(4, 5), "output .* 0 to 2 .*from 0 to 3")


def test_classes_of_two_outputs_of_one_layer():
    """A layer that is called twice gives two outputs of one name."""
    one, other = keras.Input((4,)), keras.Input((4,))
    layer = layers.Dense(3)
    model = keras.Model([one, other], [layer(one), layer(other)])
    model.compile("sgd", [LOGITS, LOGITS])
    x, y = labelled(8)
    quick(1).initialize_model(model, [((x, x), (y, y))])
    for wrong in ((y + 1, y), (y, y + 1)):
        refused(model, [((x, x), wrong)], "output .* labels from 1 to 3")


def test_classes_beside_another_loss():
    """Labels of that are no classes."""
    model = two_heads(named=True)
    model.compile("sgd", {"three": "mse", "five": LOGITS})
    y = {"three": images(8, 3), "five": np.arange(8) % 5}
    quick(1).initialize_model(model, [(images(8, 4), y)])
    wrong = {**y, "five": y["five"] + 1}
    refused(
        model, [(images(8, 4), wrong)], "output 'five' .* labels from 1 to 5"
    )


@pytest.mark.parametrize(
    "loss", [{"many": [LOGITS, LOGITS], "one": LOGITS}, LOGITS]
)
def test_classes_of_outputs_within_one_another(loss):
    """The message has the path of the output."""
    inputs = keras.Input((4,))
    outputs = {
        "many": [layers.Dense(3)(inputs), layers.Dense(5)(inputs)],
        "one": layers.Dense(2)(inputs),
    }
    model = keras.Model(inputs, outputs)
    model.compile("sgd", loss)

    def data(three, five):
        many = [np.arange(8) % three, np.arange(8) % five]
        return [(images(8, 4), {"many": many, "one": np.arange(8) % 2})]

    quick(1).initialize_model(model, data(3, 5))
    for wrong, name in ((data(4, 5), "many/0"), (data(3, 6), "many/1")):
        refused(model, wrong, f"output '{name}' .* labels from 0")


@pytest.mark.parametrize("loss", ["crossentropy", "ce"])
def test_classes_of_a_loss_chosen_by_the_labels(loss):
    """Numbers are checked; one-hot labels are none."""

    def compiled():  # Keras chooses once.
        model = keras.Sequential([mlp(compiled=False), layers.Softmax()])
        model.compile("sgd", loss)
        return model

    x, y = labelled(8)
    model = compiled()
    refused(model, [(x, y + 1)], "0 to 2.*labels from 1 to 3")
    quick(1).initialize_model(model, [(x, y)])
    quick(1).initialize_model(compiled(), [(x, np.eye(3)[y])])


def test_a_class_that_is_ignored_is_no_class():
    """Its number may be any."""
    loss = keras.losses.SparseCategoricalCrossentropy(
        from_logits=True, ignore_class=-1
    )
    x, y = labelled(8)
    quick(1).initialize_model(mlp(), [(x, y - (y == 0))], loss)
    refused(mlp(), [(x, y + (y == 2))], "0 to 2.*labels from 0 to 3", loss)
