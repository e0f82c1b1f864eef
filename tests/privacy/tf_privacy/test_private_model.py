"""A private model with an optimizer of TF Privacy."""

import keras
import numpy as np
import pytest

from tests.helpers import arrays, images
from tests.privacy.reference import norm_of
from tests.privacy.tf_privacy.made import KINDS, TREE, made, quantile_query
from tfdeep.privacy import NotPrivateError, PrivateModel, tf_privacy

pytestmark = pytest.mark.slow

X, Y = images(5, 6, 6, 2), np.arange(5) % 3
LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def net():
    return keras.Sequential(
        [
            keras.Input((6, 6, 2)),
            keras.layers.Conv2D(4, 3, activation="tanh"),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(3),
        ]
    )


def dense():
    return keras.Sequential(
        [keras.Input((6, 6, 2)), keras.layers.Flatten(), keras.layers.Dense(3)]
    )


def private(name="DPKerasSGDOptimizer", base=None, **kwargs):
    base = base or dense()
    if name == TREE:
        kwargs.setdefault("var_list_or_model", base)
    kwargs.setdefault("clip", 0.1)
    model = PrivateModel(base)
    model.compile(made(name, **kwargs), LOSS)
    return model


@pytest.mark.parametrize("name", KINDS)
def test_clip_and_noise_are_those_of_the_optimizer(name):
    model = private(name, clip=0.25, noise=1.5)
    assert model.clipping.l2_norm_clip == 0.25
    assert isinstance(model.mechanism, tf_privacy.QueryMechanism)
    assert model.describe_clipping().endswith("book-keeping")
    sums = arrays(model.clipped_sum(X[:1], Y[:1]))
    assert norm_of(sums) == pytest.approx(0.25, rel=1e-4)


@pytest.mark.parametrize(
    "name",
    [
        "DPKerasSGDOptimizer",
        "VectorizedDPKerasSGDOptimizer",
        "GenericDPSGDOptimizer",
        TREE,
    ],
)
def test_an_update_has_the_noise_of_the_optimizer(name):
    base = keras.Sequential(
        [keras.Input((50,)), keras.layers.Dense(80, use_bias=False)]
    )
    model = private(name, base, clip=0.5, noise=1.5, learning_rate=1.0)
    before = base.get_weights()[0]
    x, y = np.ones((4, 50), "float32"), np.zeros(4, "int32")
    model.fit(x, y, sample_weight=np.zeros(4), verbose=0)
    # The first node of a tree has a height of 0, and a variance of 1.
    spread = np.std(base.get_weights()[0] - before)
    assert spread == pytest.approx(1.5 * 0.5 / 4, rel=0.06)


def test_trains_by_xla():
    model = private(noise=1.0)
    model.compile(model.optimizer, LOSS, jit_compile=True)
    history = model.fit(X, Y, batch_size=5, verbose=0).history
    assert np.all(np.isfinite(history["loss"]))


def test_learning_rates_can_be_changed_by_callbacks():
    model = private(learning_rate=0.5)
    rates = []

    class Note(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            rates.append(float(self.model.optimizer.learning_rate))

    halve = keras.callbacks.LearningRateScheduler(lambda _, rate: rate / 2)
    model.fit(X, Y, epochs=3, verbose=0, callbacks=[halve, Note()])
    assert rates == [0.25, 0.125, 0.0625]


def test_schedules_work():
    schedule = keras.optimizers.schedules.ExponentialDecay(0.5, 1, 0.5)
    model = private(learning_rate=schedule)
    model.fit(X, Y, epochs=2, verbose=0)
    assert float(model.optimizer.learning_rate) == pytest.approx(0.125)


# One has a state in Keras, the other one in TF Privacy: noise, which is in no
# file but a secret one.
@pytest.mark.parametrize("name", ["DPKerasAdamOptimizer", TREE])
def test_a_saved_model_goes_on(name, tmp_path):
    model = private(name, learning_rate=0.1)
    model.fit(X, Y, shuffle=False, verbose=0)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    if name == TREE:
        with pytest.raises(NotPrivateError, match="load_resumable"):
            again.fit(X, Y, verbose=0)
        model.save_resumable(tmp_path / "model.secret.npz")
        again.load_resumable(tmp_path / "model.secret.npz")
    assert type(again.optimizer) is type(model.optimizer)
    for each in (model, again):
        each.fit(X, Y, epochs=2, shuffle=False, verbose=0)
        assert each.count_of_updates() == 3
    for a, b in zip(model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_adaptive_clip_moves_in_fit():
    model = PrivateModel(net())
    cls = tf_privacy.GenericDPSGDOptimizer
    model.compile(cls(quantile_query(0.0), None, 1, 0.0), LOSS)
    norms = np.array(model.per_example_norms(X, Y))
    model.fit(X, Y, batch_size=5, epochs=3, verbose=0)
    clip = 1.0
    for _ in range(3):
        below = np.sum((norms <= clip) - 0.5)  # Of the 10 that are expected.
        clip *= np.exp(-0.2 * below / 10)
    sums = arrays(model.clipped_sum(X[:1], Y[:1]))
    assert norm_of(sums) == pytest.approx(min(clip, norms[0]), rel=1e-4)
