"""Views of an example are averaged before the clip."""

import keras
import numpy as np
import pytest
from keras import layers

from tests.helpers import arrays, close, randomize
from tests.privacy.reference import cross_entropy, gradient, norm_of
from tfdeep.privacy import GaussianMechanism, PrivateModel, Views


@keras.saving.register_keras_serializable(package="tests")
class Numbered(layers.Layer):
    """Multiplies the views of an example with 0, 1 and 2, in this order."""

    def call(self, x):
        steps = keras.ops.arange(x.shape[0]) % 3
        return x * keras.ops.cast(steps[:, None, None], x.dtype)


def net():
    """Weights of layers with books of their own, of rows, and of neither."""
    stack = [
        layers.Conv1D(4, 3, activation="tanh"),
        layers.LayerNormalization(),
        layers.PReLU("uniform"),
        layers.Flatten(),
        layers.Dense(3),
    ]
    base = keras.Sequential([keras.Input((8, 2)), *stack])
    randomize(base)
    return base


@pytest.mark.parametrize(
    "arguments",
    [{}, {"method": "vectorized"}, {"microbatch_size": 2}],
    ids=str,
)
def test_the_gradient_is_that_of_the_mean_over_views(arguments):
    base = net()
    x = np.random.default_rng(0).normal(size=(5, 8, 2)).astype("float32")
    y = np.arange(5) % 3
    model = PrivateModel(base, augmentation=Views(Numbered(), 3), **arguments)
    model.compile("sgd", cross_entropy())
    base.compile(loss=cross_entropy())
    expected = [0.0] * len(base.trainable_variables)
    for each, target in zip(x, y, strict=True):
        views = np.stack([0 * each, each, 2 * each])
        grads = gradient(base, views, np.repeat(target, 3))
        factor = min(1.0, 1.0 / norm_of(grads))
        expected = [
            a + factor * b for a, b in zip(expected, grads, strict=True)
        ]
    close(arrays(model.clipped_sum(x, y)), expected, 1e-4, 1e-5)


def test_logs_are_of_the_first_view_and_of_the_mean_loss():
    base = net()
    x = np.random.default_rng(0).normal(size=(5, 8, 2)).astype("float32")
    model = PrivateModel(
        base,
        mechanism=GaussianMechanism(0.0),
        augmentation=Views(Numbered(), 3),
    )
    model.compile("sgd", cross_entropy(), metrics=["accuracy"])
    views = [base.predict(x * k, verbose=0) for k in range(3)]
    first, last = (np.argmax(views[k], axis=1) for k in (0, 2))
    assert np.any(first != last)
    losses = [float(cross_entropy()(first, each)) for each in views]
    logs = model.train_on_batch(x, first, return_dict=True)
    assert logs["accuracy"] == 1.0
    assert logs["loss"] == pytest.approx(np.mean(losses), rel=1e-5)


def test_views_that_mix_examples_are_refused():
    with pytest.raises(ValueError, match="mixes examples"):
        Views(layers.MixUp())


class Centred(layers.Layer):
    """Adds the mean of all views that it sees."""

    def call(self, x, training=None):
        return x + keras.ops.mean(x, axis=0, keepdims=True)


@pytest.mark.parametrize("layer", [Centred, layers.Equalization])
def test_a_layer_that_mixes_sees_the_views_of_one_example(layer):
    """The views of the others stay as they are, whatever the first is."""
    views = Views(layer(), count=2)
    x = np.random.default_rng(0).uniform(0, 255, (3, 8, 8, 3))
    x = x.astype("float32")
    state = [v.value for v in views.layer.non_trainable_variables]
    before = np.array(views.shown(x, state)[0])
    assert before.shape == (6, 8, 8, 3)
    x[0] = 0.0
    after = np.array(views.shown(x, state)[0])
    np.testing.assert_array_equal(after[2:], before[2:])
