"""`method="tf_privacy"`: TF Privacy's own gradient code, the same result."""

import keras
import numpy as np
import pytest

from tests.helpers import arrays, close, images
from tests.privacy.reference import norm_of
from tests.privacy.tf_privacy.made import KINDS, TREE, made, quantile_query
from tfdeep.privacy import GaussianMechanism, PrivateModel, tf_privacy

pytestmark = pytest.mark.slow

# Chunks of four examples, and one more.
X, Y = images(5, 6, 6, 2), np.arange(5) % 3
METHODS = ("auto", "tf_privacy")
LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def net(dropout=0.0):
    return keras.Sequential(
        [
            keras.Input((6, 6, 2)),
            keras.layers.Conv2D(4, 3, activation="tanh"),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dropout(dropout),
            keras.layers.Dense(3),
        ]
    )


def dense():
    return keras.Sequential(
        [keras.Input((6, 6, 2)), keras.layers.Flatten(), keras.layers.Dense(3)]
    )


def private(name="DPKerasSGDOptimizer", base=None, method="tf_privacy", **more):
    base = base or net()
    if name == TREE:
        more["var_list_or_model"] = base
    model = PrivateModel(base, method=method)
    model.compile(made(name, 0.1, **more), LOSS)
    return model


def twins(name, make, **more):
    """The same model, trained by the native engine and by TF Privacy."""
    first, second = (private(name, make(), m, **more) for m in METHODS)
    second.base.set_weights(first.base.get_weights())
    return first, second


def test_the_two_routes_sum_the_same():
    one, other = (arrays(model.clipped_sum(X, Y)) for model in twins(TREE, net))
    close(one, other, 1e-4, 1e-5)


@pytest.mark.parametrize("name", KINDS[:2])
def test_the_two_routes_train_the_same(name):
    both = twins(name, dense, learning_rate=0.5)
    for model in both:
        model.fit(X, Y, batch_size=5, epochs=2, shuffle=False, verbose=0)
    close(*(model.base.get_weights() for model in both), 1e-4, 1e-5)
    assert both[1].describe_clipping().startswith("sequential")
    assert "TF Privacy's code" in both[1].describe_clipping()


def test_not_finite_examples_add_nothing():
    model = private(base=dense())
    spoiled = np.array(X)
    spoiled[3] = np.nan
    kept = np.array([1, 1, 1, 0, 1], "float32")
    ours = arrays(model.clipped_sum(spoiled, Y, np.ones(5, "float32")))
    close(ours, arrays(model.clipped_sum(X, Y, kept)), 0, 1e-6)


def test_dropout_trains_with_a_clip():
    model = private(base=net(0.5))
    sums = arrays(model.clipped_sum(X[:1], Y[:1]))
    assert norm_of(sums) <= 0.1 * (1 + 1e-5)


def test_an_adaptive_clip_is_refused():
    model = PrivateModel(net(), method="tf_privacy")
    model.compile(tf_privacy.GenericDPSGDOptimizer(quantile_query()), LOSS)
    with pytest.raises(ValueError, match="whose clip adapts"):
        model.fit(X, Y, verbose=0)


def test_it_needs_an_optimizer_of_tf_privacy():
    model = PrivateModel(
        net(), mechanism=GaussianMechanism(1.0), method="tf_privacy"
    )
    model.compile("sgd", LOSS)
    with pytest.raises(ValueError, match="gradient code"):
        model.fit(X, Y, verbose=0)
