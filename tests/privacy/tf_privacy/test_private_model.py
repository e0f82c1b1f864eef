"""A private model with an optimizer of TF Privacy."""

import keras
import numpy as np
import pytest
from keras import ops

from tests.helpers import images
from tests.privacy.tf_privacy.test_optimizers import QUANTILE, made
from tfdeep.privacy import GaussianMechanism, PrivateModel, tf_privacy

FEW = (
    "DPKerasSGDOptimizer",
    "VectorizedDPKerasAdagradOptimizer",
    "GenericDPAdamOptimizer",
    "DPFTRLTreeAggregationOptimizer",
)
X, Y = images(10, 6, 6, 2), np.arange(10) % 3


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


LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def private(name="DPKerasSGDOptimizer", base=None, method="auto", **kwargs):
    base = base or net()
    if name == "DPFTRLTreeAggregationOptimizer":
        kwargs.setdefault("var_list_or_model", base)
    kwargs.setdefault("clip", 0.1)
    model = PrivateModel(base, method=method)
    model.compile(made(name, **kwargs), LOSS)
    return model


def twins(name, **kwargs):
    """The same model, trained by the two routes."""
    first = private(name, **kwargs)
    second = private(name, method="tf_privacy", **kwargs)
    second.base.set_weights(first.base.get_weights())
    return first, second


@pytest.mark.parametrize("name", FEW)
def test_the_two_routes_sum_the_same(name):
    first, second = twins(name)
    for a, b in zip(
        first.clipped_sum(X, Y), second.clipped_sum(X, Y), strict=True
    ):
        np.testing.assert_allclose(a, b, atol=1e-5)


@pytest.mark.parametrize("name", FEW[:2])
def test_the_two_routes_train_the_same(name):
    first, second = twins(name, learning_rate=0.5)
    for model in (first, second):
        model.fit(X, Y, batch_size=5, epochs=2, shuffle=False, verbose=0)
    for a, b in zip(
        first.base.get_weights(), second.base.get_weights(), strict=True
    ):
        np.testing.assert_allclose(a, b, atol=1e-5)


@pytest.mark.parametrize("name", FEW)
def test_clip_and_noise_are_those_of_the_optimizer(name):
    model = private(name, clip=0.25, noise=1.5)
    assert model.clipping.l2_norm_clip == 0.25
    assert isinstance(model.mechanism, tf_privacy.QueryMechanism)
    sums = model.clipped_sum(X[:1], Y[:1])
    norm = np.sqrt(sum(float(ops.sum(s * s)) for s in sums))
    assert norm == pytest.approx(0.25, rel=1e-4)


@pytest.mark.parametrize("name", FEW)
def test_trains(name):
    model = private(name, noise=1.0, learning_rate=0.1)
    history = model.fit(X, Y, batch_size=5, epochs=3, verbose=0).history
    assert np.all(np.isfinite(history["loss"]))


def dense():
    return keras.Sequential(
        [keras.Input((6, 6, 2)), keras.layers.Flatten(), keras.layers.Dense(3)]
    )


def test_trains_by_xla():
    model = private(base=dense(), noise=1.0)
    model.compile(model.optimizer, LOSS, jit_compile=True)
    history = model.fit(X, Y, batch_size=10, verbose=0).history
    assert np.all(np.isfinite(history["loss"]))


@pytest.mark.parametrize("period", [None, 4])
def test_noise_of_a_tree_is_that_of_its_nodes(period):
    base = keras.Sequential(
        [keras.Input((50,)), keras.layers.Dense(80, use_bias=False)]
    )
    optimizer = made(
        "DPFTRLTreeAggregationOptimizer",
        1.0,
        1.0,
        var_list_or_model=base,
        restart_period=period,
        learning_rate=1.0,
    )
    model = PrivateModel(base)
    model.compile(optimizer, "mse")
    x, y = np.ones((4, 50), "float32"), np.ones((4, 80), "float32")
    start, found = base.get_weights()[0], []
    for _ in range(8):
        model.train_on_batch(x, y, np.zeros(4, "float32"))
        found.append(np.std(4 * (base.get_weights()[0] - start)))

    def variance(updates):
        """A node of height d has one of 1 / (2 - 2^-d), after Honaker."""
        bits = [d for d in range(4) if updates >> d & 1]
        return sum(1 / (2 - 2.0**-d) for d in bits)

    whole = 8 if period is None else period
    expected = [
        (t // whole * variance(whole) + variance(t % whole)) ** 0.5
        for t in range(1, 9)
    ]
    np.testing.assert_allclose(found, expected, rtol=0.05)


@pytest.mark.parametrize("method", ["auto", "tf_privacy"])
def test_not_finite_examples_add_nothing(method):
    model = private(method=method)
    spoiled = np.array(X)
    spoiled[3] = np.nan
    kept = np.ones(10, "float32")
    kept[3] = 0.0
    ours = model.clipped_sum(spoiled, Y, np.ones(10, "float32"))
    theirs = model.clipped_sum(X, Y, kept)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_dropout_trains_by_tf_privacy_with_a_clip():
    model = private(base=net(0.5), method="tf_privacy")
    sums = model.clipped_sum(X[:1], Y[:1])
    norm = np.sqrt(sum(float(ops.sum(s * s)) for s in sums))
    assert norm <= 0.1 * (1 + 1e-5)


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
    model.fit(X, Y, batch_size=10, epochs=2, verbose=0)
    assert float(model.optimizer.learning_rate) == pytest.approx(0.125)


@pytest.mark.parametrize("name", FEW)
def test_a_saved_model_goes_on(name, tmp_path):
    model = private(name, learning_rate=0.1)
    model.fit(X, Y, batch_size=5, shuffle=False, verbose=0)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert type(again.optimizer) is type(model.optimizer)
    for each in (model, again):
        each.fit(X, Y, batch_size=5, epochs=2, shuffle=False, verbose=0)
    for a, b in zip(model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_a_saved_model_loads_in_a_fresh_process(fresh_process, tmp_path):
    path = tmp_path / "model.keras"
    query = tf_privacy.QuantileAdaptiveClipSumQuery(**QUANTILE)
    model = PrivateModel(net())
    model.compile(tf_privacy.GenericDPSGDOptimizer(query), LOSS)
    model.fit(X, Y, verbose=0)
    model.save(path)
    code = (
        "import keras, tfdeep\n"
        f"model = keras.models.load_model({str(path)!r})\n"
        "print(type(model.optimizer).__name__, int(model.updates_taken.value))"
        "\nprint(*(float(v.value) for v in model.mechanism_state[:1]))"
    )
    name, clip = fresh_process(code).splitlines()[-2:]
    assert name == "GenericDPSGDOptimizer 1"
    assert float(clip) == pytest.approx(float(model.mechanism_state[0].value))


def test_adaptive_clip_moves_in_fit():
    query = tf_privacy.QuantileAdaptiveClipSumQuery(
        **{**QUANTILE, "noise_multiplier": 0.0, "clipped_count_stddev": 0.0}
    )
    model = PrivateModel(net())
    model.compile(tf_privacy.GenericDPSGDOptimizer(query, None, 1, 0.0), LOSS)
    norms = np.array(model.per_example_norms(X, Y))
    model.fit(X, Y, batch_size=10, epochs=3, verbose=0)
    clip = 1.0
    for _ in range(3):
        clip *= np.exp(-0.2 * (np.mean(norms <= clip) - 0.5))
    state = [each.value for each in model.mechanism_state]
    assert float(model.mechanism.clip_norm(9.0, state)) == pytest.approx(clip)


def test_adaptive_clip_is_refused_by_the_literal_route():
    query = tf_privacy.QuantileAdaptiveClipSumQuery(**QUANTILE)
    model = PrivateModel(net(), method="tf_privacy")
    model.compile(tf_privacy.GenericDPSGDOptimizer(query), LOSS)
    with pytest.raises(ValueError, match="changes from update to update"):
        model.fit(X, Y, verbose=0)


def test_the_literal_route_needs_an_optimizer_of_tf_privacy():
    model = PrivateModel(
        net(), mechanism=GaussianMechanism(1.0), method="tf_privacy"
    )
    model.compile("sgd", LOSS)
    with pytest.raises(ValueError, match="gradient code"):
        model.fit(X, Y, verbose=0)


def test_the_optimizer_is_refused_by_the_plain_model_afterwards():
    model = private()
    model.fit(X, Y, verbose=0)
    model.base.compile(model.optimizer, LOSS)
    with pytest.raises(RuntimeError, match="not be private"):
        model.base.fit(X, Y, verbose=0)
