"""What a reversible chain cannot undo is refused, with the reason."""

import numpy as np
import pytest
from keras import layers

from tests.helpers import images
from tests.layers.chains import dense
from tfdeep.layers import ReversibleStack


def stack(**kwargs):
    return ReversibleStack([dense(), dense()], **kwargs)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        *(
            ({"gamma": gamma}, "Received: gamma=")
            for gamma in (0, -0.1, 1.5, "0.9", True, np.nan)
        ),
        ({"coupling": "affine"}, "coupling"),
        ({"checkpoint_every": 0}, "checkpoint_every"),
        ({"checkpoint_every": 1.5}, "checkpoint_every"),
        ({"recompute": "yes"}, "recompute"),
    ],
    ids=str,
)
def test_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        stack(**arguments)


@pytest.mark.parametrize("blocks", [[], None, [3], dense()], ids=str)
def test_what_is_no_list_of_layers(blocks):
    with pytest.raises(TypeError, match="Received: blocks="):
        ReversibleStack(blocks)


def test_the_same_block_twice():
    one = dense()
    with pytest.raises(ValueError, match="twice"):
        ReversibleStack([one, one])


def test_a_block_that_changes_the_shape():
    with pytest.raises(ValueError, match="must keep shape and dtype"):
        ReversibleStack([dense(3)]).build((2, 4))


@pytest.mark.parametrize("shape", [(2, 5), (2, None)])
def test_halves_of_an_odd_number(shape):
    with pytest.raises(ValueError, match="even"):
        stack(coupling="additive").build(shape)


@pytest.mark.parametrize("count", [1, 2])
def test_losses(count):
    """In a chain of one, of which there is no loop, and of equal blocks."""
    blocks = [layers.Dense(4, activity_regularizer="l2") for _ in range(count)]
    with pytest.raises(ValueError, match="a loss that it adds"):
        ReversibleStack(blocks)(images(2, 4), training=True)


def test_integers():
    with pytest.raises(ValueError, match="Received: int32"):
        stack()(np.ones((2, 4), "int32"))


@pytest.mark.tensorflow
@pytest.mark.parametrize("built", (True, False))
def test_ragged_tensors(built):
    import tensorflow as tf

    layer = stack()
    if built:
        layer.build((None, 4))
    with pytest.raises(ValueError, match="ragged"):
        layer(tf.ragged.constant([[1.0], [1.0, 2.0]]))


def test_python_state():
    class Counts(layers.Layer):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.calls = 0

        def build(self, shape):
            self.scale = self.add_weight(shape=())

        def call(self, x):
            self.calls += 1
            return self.scale * x

    with pytest.raises(ValueError, match="Python attribute"):
        ReversibleStack([Counts(), Counts()])(images(2, 4))
