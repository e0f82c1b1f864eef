"""Masks that Keras hands on by itself reach all that they reach in Keras."""

import keras
import numpy as np
import pytest
from keras import layers

from tests.helpers import BACKEND
from tests.privacy.reference import check, cross_entropy
from tfdeep.privacy import GaussianMechanism, PrivateModel, Views

WORDS = np.array(
    [[3, 5, 0, 0, 0], [1, 2, 3, 4, 5], [2, 0, 0, 0, 0], [4, 4, 1, 0, 0]]
)
CLASSES = np.array([0, 1, 2, 1])


class Attending(layers.Layer):
    """Attention of one's own, which hands the mask on."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.attention = layers.MultiHeadAttention(2, 4)
        self.supports_masking = True

    def call(self, x):
        return x + self.attention(x, x)


ATTENTION = {
    "heads": lambda: layers.MultiHeadAttention(2, 4),
    "groups": lambda: layers.GroupQueryAttention(4, 4, 2),
    "own": Attending,
}


def attending(kind):
    words = keras.Input((5,), dtype="int32")
    x = layers.Embedding(6, 8, mask_zero=True)(words)
    layer = ATTENTION[kind]()
    x = layer(x) if kind == "own" else layer(x, x)
    x = layers.GlobalAveragePooling1D()(x)
    return keras.Model(words, layers.Dense(3)(x))


# Keras warns that layers within attention destroy a mask it has used by then.
@pytest.mark.filterwarnings("ignore:.*destroy the mask.*:UserWarning")
@pytest.mark.parametrize("kind", ATTENTION)
def test_attention_leaves_padding_out(kind):
    model = check(attending(kind), WORDS, CLASSES)
    assert "whole model" not in model.describe_clipping()


def test_a_loss_of_each_word_leaves_padding_out():
    base = keras.Sequential(
        [
            keras.Input((5,), dtype="int32"),
            layers.Embedding(6, 8, mask_zero=True),
            layers.Dense(3),
        ]
    )
    model = check(base, WORDS, WORDS % 3)
    assert "whole model" not in model.describe_clipping()
    for method in ("vectorized", "loop"):
        check(base, WORDS, WORDS % 3, method=method)


@pytest.mark.parametrize("views", [None, Views(layers.Identity(), 2)])
@pytest.mark.parametrize("method", ["auto", "vectorized", "loop"])
@pytest.mark.parametrize("size", [None, 3])
def test_metrics_of_each_word_leave_padding_out(size, method, views):
    base = keras.Sequential(
        [
            keras.Input((5,), dtype="int32"),
            layers.Embedding(6, 8, mask_zero=True),
            layers.Dense(3),
        ]
    )
    y = WORDS % 3
    plain = keras.models.clone_model(base)
    plain.set_weights(base.get_weights())
    plain.compile("sgd", cross_entropy(), metrics=["accuracy"])
    expected = plain.evaluate(WORDS, y, verbose=0, return_dict=True)
    model = PrivateModel(
        base,
        mechanism=GaussianMechanism(0.0),
        microbatch_size=size,
        method=method,
        augmentation=views,
    )
    model.compile(
        keras.optimizers.SGD(0.0),
        cross_entropy(),
        metrics=["accuracy"],
        run_eagerly=BACKEND == "tensorflow",
    )
    logs = model.train_on_batch(WORDS, y, return_dict=True)
    assert logs["accuracy"] == pytest.approx(expected["accuracy"])
