"""Norms of gradients whose terms are large and cancel."""

import keras
import numpy as np
from keras import layers, ops

from tests.helpers import arrays, close
from tfdeep.privacy import GaussianMechanism, PrivateModel


def test_long_products_that_cancel_have_their_norm():
    """Norms from pairs of positions: large terms, and a small sum."""
    rng = np.random.default_rng(0)
    base = keras.Sequential(
        [keras.Input((8, 64)), layers.Dense(80, use_bias=False)]
    )
    model = PrivateModel(base, mechanism=GaussianMechanism(1.0))
    model.compile("sgd", Alternating())
    for ratio in (10.0, 1e3, 1e5):
        x = rng.normal(size=(5, 1, 64)) + rng.normal(size=(5, 8, 64)) / ratio
        x = x.astype("float32")
        slow = PrivateModel(base, method="loop")
        slow.compile("sgd", Alternating())
        y = np.zeros((5, 8, 80), "float32")
        (norms,) = arrays([model.per_example_norms(x, y)])
        (exact,) = arrays([slow.per_example_norms(x, y)])
        np.testing.assert_allclose(norms, exact, rtol=1e-3)
        sums = arrays(model.clipped_sum(x[:1], y[:1]))
        total = np.sqrt(sum(np.sum(np.square(s)) for s in sums))
        assert total <= 1 + 1e-5
    # One that cannot be differentiated adds nothing, and spoils no other.
    x[2] = np.nan
    with_it = arrays(model.clipped_sum(x, y))
    without = arrays(model.clipped_sum(np.delete(x, 2, 0), y[:4]))
    close(with_it, without)


@keras.saving.register_keras_serializable(package="tests")
class Alternating(keras.losses.Loss):
    """The gradient at each position is that of the one before, negated."""

    def call(self, y_true, y_pred):
        signs = np.array([1.0, -1.0] * 4, "float32")[None, :, None]
        return ops.mean(10.0 * signs * y_pred, axis=-1)


def test_a_table_of_few_words_has_its_norm():
    """Gradients of one row, far apart in size, which cancel.

    As well as their terms are known, which single precision rounds.
    """
    base = keras.Sequential([keras.Input((6,)), layers.Embedding(4, 3)])
    model = PrivateModel(base, mechanism=GaussianMechanism(1.0))
    model.compile("sgd", "mse")
    slow = PrivateModel(base, method="loop")
    slow.compile("sgd", "mse")
    rng = np.random.default_rng(0)
    words = rng.integers(0, 2, (5, 6))
    y = rng.normal(size=(5, 6, 3)).astype("float32") * 1e4
    y[:, 1::2] = -y[:, ::2] + 1e-2
    found, exact = (
        arrays([each.per_example_norms(words, y)])[0] for each in (model, slow)
    )
    lengths = np.linalg.norm(y, axis=2).sum(1) * 2.0 / y[0].size
    rounded = 2.0 * np.finfo("float32").eps * lengths
    assert exact.min() < 0.1 < lengths.min()
    assert np.all(np.abs(found - exact) <= 1e-3 * exact + rounded)
