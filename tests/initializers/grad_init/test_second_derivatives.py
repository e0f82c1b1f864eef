"""Layers whose gradient TensorFlow cannot differentiate are refused."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from tests.helpers import BACKEND, images
from tests.initializers.grad_init.nets import LOGITS, quick
from tests.initializers.unchanged import unchanged
from tfdeep.initializers.second_derivatives import is_linear


def conv(**kwargs):
    return layers.Conv2D(2, 3, padding="same", **kwargs)


def search(*parts):
    model = keras.Sequential(
        [keras.Input((8, 8, 2)), *parts, layers.Flatten(), layers.Dense(3)]
    )
    data = images(8, 8, 8, 2), np.arange(8) % 3
    return model, lambda: quick(2).initialize_model(model, data, LOGITS, 4)


MISSING = {
    "bilinear": lambda: layers.UpSampling2D(2, interpolation="bilinear"),
    "bicubic": lambda: layers.UpSampling2D(2, interpolation="bicubic"),
    "lanczos3": lambda: layers.UpSampling2D(2, interpolation="lanczos3"),
    "resizing": lambda: layers.Resizing(4, 4),
    "softsign": lambda: layers.Activation("softsign"),
}


@pytest.mark.tensorflow
@pytest.mark.parametrize("kind", MISSING)
def test_they_are_refused_by_name(kind):
    layer = MISSING[kind]()
    layer.name = "culprit"
    model, run = search(conv(), layer)
    with unchanged(model), pytest.raises(ValueError, match="layer 'culprit'"):
        run()


@pytest.mark.tensorflow
def test_and_so_are_those_of_a_layer_of_ones_own():
    class Resized(layers.Layer):
        def call(self, x):
            return ops.image.resize(x, (4, 4))

    inner = keras.Sequential([conv(), Resized(name="mine")], name="outer")
    _, run = search(inner)
    with pytest.raises(ValueError, match="layer 'mine'"):
        run()


@pytest.mark.parametrize(
    "parts",
    [
        # Nothing is trained below it.
        lambda: [MISSING["bilinear"](), conv()],
        lambda: [conv(activation="relu"), layers.UpSampling2D(2)],
        lambda: [conv(activation="gelu"), layers.BatchNormalization()],
        lambda: [conv(), layers.LayerNormalization(), layers.MaxPooling2D()],
        lambda: [conv(), layers.Dropout(0.5), layers.SeparableConv2D(2, 3)],
    ],
)
def test_others_are_not(parts):
    model, run = search(*parts())
    assert run() is model


@pytest.mark.skipif(BACKEND != "jax", reason="It is refused elsewhere.")
def test_on_jax_they_are_followed():
    model, run = search(conv(), MISSING["bilinear"]())
    assert run() is model


def test_a_product_that_is_not_linear_is_noticed():
    """The derivative of a product is what stop_gradient takes away."""
    x = ops.convert_to_tensor(images(4, 3))

    @ops.custom_gradient
    def broken(x):
        def gradient(*args, upstream=None):
            (upstream,) = args or (upstream,)
            return 2 * ops.stop_gradient(upstream) * x

        return ops.square(x), gradient

    assert is_linear(lambda x: [ops.square(x)], [x], [x * x])
    assert not is_linear(lambda x: [broken(x)], [x], [x * x])
