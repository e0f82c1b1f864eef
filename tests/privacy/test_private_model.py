"""`fit` of a private model: counting, stopping, files, rows of weight 0."""

import keras
import numpy as np
import pytest
from keras import layers

from tests.helpers import arrays, close
from tests.privacy.reference import compare
from tfdeep import privacy
from tfdeep.privacy import PrivateModel

QUIETLY = {"shuffle": False, "verbose": 0}


def fit(model, data, epochs=1, **arguments):
    arguments = {"batch_size": 8, "shuffle": False, **arguments}
    return model.fit(*data, epochs=epochs, verbose=0, **arguments).history


def without_noise(budget, **arguments):
    return budget(noise_multiplier=0.0, **arguments)


def test_without_clip_and_noise_it_is_the_plain_model(private, budget, data):
    model = private(plan=without_noise(budget), l2_norm_clip=1e6)
    plain = keras.models.clone_model(model.base)
    plain.set_weights(model.base.get_weights())
    plain.compile(keras.optimizers.SGD(0.1), model.loss)
    ours, theirs = fit(model, data, 2), fit(plain, data, 2)
    np.testing.assert_allclose(ours["loss"], theirs["loss"], rtol=1e-5)
    close(model.base.get_weights(), plain.get_weights())


def test_it_stops_before_the_update_that_would_exceed_the_plan(
    private, budget, data
):
    model = private(plan=budget(steps=6))
    history = fit(model, data, 5)
    assert history["epsilon"] == [4.0, 6.0]
    assert model.count_of_updates() == 6 and model.updates_left() == 0
    before = model.base.get_weights()
    with pytest.raises(RuntimeError, match="0 updates left"):
        fit(model, data)
    with pytest.raises(RuntimeError, match="0 updates left"):
        model.train_on_batch(data[0][:8], data[1][:8])
    close(model.base.get_weights(), before, 0, 0)


def test_single_batches_are_counted_and_checked(private, budget, data):
    x, y = data
    model = private(plan=budget(steps=2))
    with pytest.raises(privacy.NotPrivateError, match="12 rows"):
        model.train_on_batch(x[:12], y[:12])
    for _ in range(2):
        model.train_on_batch(x[:8], y[:8])
    assert model.count_of_updates() == 2
    with pytest.raises(RuntimeError, match="0 updates left"):
        model.train_on_batch(x[:8], y[:8])


def test_a_poisson_batch_has_weights(private, budget, data):
    model = private(plan=budget(sampling="poisson"))
    with pytest.raises(privacy.NotPrivateError, match="without weights"):
        model.train_on_batch(*data)


def endless(data, size):
    while True:
        yield tuple(each[:size] for each in data)


def test_batches_of_a_stream_are_checked(private, budget, data):
    model = private(plan=budget())
    model.fit(endless(data, 8), steps_per_epoch=3, **QUIETLY)
    assert model.count_of_updates() == 3
    before = model.base.get_weights()
    with pytest.raises(privacy.NotPrivateError, match="3 of 3 updates"):
        model.fit(endless(data, 12), steps_per_epoch=3, **QUIETLY)
    close(model.base.get_weights(), before, 0, 0)
    assert model.count_of_updates() == 3


@pytest.mark.tensorflow
def test_the_number_of_batches_of_a_stream_is_checked(private, budget, data):
    import tensorflow as tf

    rows = tf.data.Dataset.from_tensor_slices(data)
    model = private(plan=budget())
    model.fit(rows.batch(8), **QUIETLY)
    assert model.count_of_updates() == 4
    with pytest.raises(privacy.NotPrivateError, match="stream of 8 batches"):
        model.fit(rows.batch(4), **QUIETLY)


@pytest.mark.tensorflow
def test_the_step_is_compiled_by_xla_only_where_that_is_fast(private, budget):
    import tensorflow as tf

    slow = not tf.config.list_physical_devices("GPU")
    model = private(plan=budget())
    assert model.jit_compile is not slow
    asked = private(plan=budget(), compiled={"jit_compile": True})
    assert asked.jit_compile


def test_several_steps_per_execution_do_not_exceed_it(private, budget, data):
    model = private(plan=budget(steps=7), compiled={"steps_per_execution": 2})
    fit(model, data, 5)
    assert model.count_of_updates() == 6


def test_beyond_the_plan_a_step_shows_nothing(private, budget, data):
    """Whatever calls the step: the weights then move by no data."""
    model = private(plan=budget(steps=2))
    fit(model, data)
    before = model.base.get_weights()
    model.updates_left = lambda: 100
    model.train_on_batch(data[0][:8], data[1][:8])
    close(model.base.get_weights(), before, 0, 0)
    assert model.count_of_updates() == 2


def test_recompiling_does_not_reset_the_count(private, budget, data):
    model = private(plan=budget(steps=6))
    fit(model, data)
    model.compile("sgd", model.loss)
    fit(model, data, 3)
    assert model.count_of_updates() == 6


def test_the_count_is_saved_and_resumed(private, budget, data, tmp_path):
    model = private(
        plan=budget(steps=6),
        averaging=privacy.Averaging(0.9),
        mechanism=privacy.AdaptiveClipping(),
    )
    fit(model, data)
    model.save(tmp_path / "half.keras")
    resumed = keras.models.load_model(tmp_path / "half.keras")
    assert type(resumed) is PrivateModel and resumed.count_of_updates() == 4
    close(arrays(resumed.averages), arrays(model.averages), 0, 0)
    close(arrays(resumed.mechanism_state), arrays(model.mechanism_state), 0, 0)
    assert float(resumed.mechanism_state[0].numpy()) != 1.0
    fit(resumed, data, 3)
    assert resumed.count_of_updates() == 6


def test_weights_alone_carry_the_count(private, budget, data, tmp_path):
    model, other = (private(plan=budget(steps=6)) for _ in range(2))
    fit(model, data)
    model.save_weights(tmp_path / "w.weights.h5")
    other.load_weights(tmp_path / "w.weights.h5")
    assert other.count_of_updates() == 4


def test_the_model_inside_stays_plain(private, budget, data):
    model = private(plan=budget())
    fit(model, data)
    np.testing.assert_array_equal(
        model.predict(data[0], verbose=0),
        model.base.predict(data[0], verbose=0),
    )
    names = {weight.path for weight in model.base.weights}
    assert not any("updates" in name for name in names)


def test_padding_adds_exactly_nothing(private):
    model = private()
    x, y = np.ones((8, 8), "float32"), np.zeros(8, "int32")
    x[:3] = np.random.default_rng(0).normal(size=(3, 8))
    weight = np.array([1, 1, 1, 0, 0, 0, 0, 0], "float32")
    close(
        arrays(model.clipped_sum(x, y, weight)),
        arrays(model.clipped_sum(x[:3], y[:3])),
        1e-6,
        1e-7,
    )
    nothing = arrays(model.clipped_sum(x, y, 0 * weight))
    assert all(np.all(each == 0) for each in nothing)


def test_an_empty_batch_takes_a_noisy_step(private, budget):
    model = private(plan=budget(batch_size=8))
    before = model.base.get_weights()
    x, y = np.zeros((8, 8), "float32"), np.zeros(8, "int32")
    model.train_on_batch(x, y, np.zeros(8, "float32"))
    after = model.base.get_weights()
    assert all(np.all(a != b) for a, b in zip(before, after, strict=True))
    assert model.count_of_updates() == 1


@pytest.mark.parametrize("method", ["auto", "vectorized"])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_an_example_that_is_not_finite_adds_nothing(private, data, bad, method):
    model = private(method=method, mechanism=noiseless())
    x, y = (each[:8].copy() for each in data)
    x[3] = bad
    rest = np.arange(8) != 3
    close(
        arrays(model.clipped_sum(x, y)),
        arrays(model.clipped_sum(x[rest], y[rest])),
        1e-6,
        1e-7,
    )
    model.train_on_batch(x, y)
    assert int(model.non_finite_examples.numpy()) == 1
    assert all(np.isfinite(w).all() for w in model.base.get_weights())


def noiseless():
    return privacy.GaussianMechanism(noise_multiplier=0.0)


@pytest.mark.parametrize("size", [3, 4, 100])
def test_microbatches_give_the_same_update(private, data, size):
    whole, parts = (
        private(mechanism=noiseless(), microbatch_size=each)
        for each in (None, size)
    )
    weight = np.linspace(0.5, 2, 32).astype("float32")
    for model in (whole, parts):
        fit(model, data, 2, sample_weight=weight)
    close(parts.base.get_weights(), whole.base.get_weights())


def test_gradients_are_accumulated_with_noise_once(private, budget, data):
    optimizer = keras.optimizers.SGD(0.1, gradient_accumulation_steps=4)
    model = private(
        plan=without_noise(budget, batch_size=32), optimizer=optimizer
    )
    whole = private(plan=without_noise(budget, batch_size=32))
    fit(model, data)
    fit(whole, data, batch_size=32)
    assert model.count_of_updates() == 1
    close(model.base.get_weights(), whole.base.get_weights())


def test_noise_of_accumulated_gradients(private, budget):
    """Zero gradients: the weights move by the noise of one update."""
    x, y = np.zeros((8, 8), "float32"), np.zeros(8, "int32")
    moved = []
    for _ in range(2):
        model = private(
            layers.Dense(300),
            plan=budget(batch_size=32),
            optimizer=keras.optimizers.SGD(1.0, gradient_accumulation_steps=4),
        )
        before = model.base.get_weights()
        for _ in range(4):
            model.train_on_batch(x, y, np.zeros(8, "float32"))
        after = model.base.get_weights()
        moved += [np.ravel(a - b) for a, b in zip(after, before, strict=True)]
    spread = np.std(np.concatenate(moved))
    assert spread == pytest.approx(1.0 / 32, rel=0.05)


def test_views_are_averaged_before_the_clip(private, data):
    """Views that are all alike change nothing."""
    x, y = (each[:5] for each in data)
    model = private()
    same = private(augmentation=privacy.Views(layers.Activation("linear"), 3))
    for method in ("auto", "vectorized"):
        same = private(
            augmentation=privacy.Views(layers.Activation("linear"), 3),
            method=method,
        )
        close(arrays(same.clipped_sum(x, y)), arrays(model.clipped_sum(x, y)))


def test_views_that_differ(private, data):
    """Two ways to the gradient of the mean over views."""

    @keras.saving.register_keras_serializable(package="tests")
    class Numbered(layers.Layer):
        def call(self, x):
            steps = keras.ops.arange(x.shape[0]) % 3
            return x * keras.ops.cast(steps[:, None], x.dtype)

    x, y = (each[:5] for each in data)
    models = [
        private(augmentation=privacy.Views(Numbered(), 3), method=method)
        for method in ("auto", "vectorized")
    ]
    one, other = (arrays(model.clipped_sum(x, y)) for model in models)
    close(one, other)


def test_dropout_masks_differ_between_examples_and_steps(private, data):
    x = np.repeat(data[0][:1], 16, axis=0)
    y = np.zeros(16, "int32")
    for method in ("auto", "vectorized"):
        model = private(layers.Dropout(0.5, seed=1), method=method)
        one, other = (arrays([model.per_example_norms(x, y)]) for _ in range(2))
        assert np.unique(one[0].round(6)).size > 8
        assert np.abs(one[0] - other[0]).max() > 1e-3


def test_norm_and_gradient_have_the_same_mask(private, data):
    """With one example the clipped sum has a norm of at most the clip."""
    model = private(layers.Dropout(0.9, seed=1), l2_norm_clip=0.1)
    for index in range(12):
        sums = arrays(model.clipped_sum(*(a[index : index + 1] for a in data)))
        norm = np.sqrt(sum(np.sum(each**2) for each in sums))
        assert norm <= 0.1 * (1 + 1e-5)


def test_penalties_on_weights_come_after_the_clip(budget, data):
    penalty = keras.regularizers.L2(0.1)
    base = keras.Sequential(
        [keras.Input((8,)), layers.Dense(3, kernel_regularizer=penalty)]
    )
    model = PrivateModel(base, plan=without_noise(budget))
    model.compile(keras.optimizers.SGD(1.0), "mse")
    before = base.get_weights()[0]
    x, y = np.zeros((8, 8), "float32"), np.zeros((8, 3), "float32")
    model.train_on_batch(x, y, np.zeros(8, "float32"))
    np.testing.assert_allclose(base.get_weights()[0], 0.8 * before, rtol=1e-5)


def test_an_average_is_evaluated_beside_the_weights(private, budget, data):
    model = private(plan=budget(), averaging=privacy.Averaging(0.999))
    weights = [np.array(w) for w in model.base.get_weights()]
    expected = weights
    for step in range(4):
        part = slice(8 * step, 8 * step + 8)
        model.train_on_batch(*(each[part] for each in data))
        decay = min(0.999, (1 + step) / (10 + step))
        expected = [
            decay * mean + (1 - decay) * new
            for mean, new in zip(
                expected, model.base.get_weights(), strict=True
            )
        ]
    copy = model.averaged_model()
    close(copy.get_weights(), expected)
    copy.compile(loss=model.loss)
    logs = model.evaluate(*data, verbose=0, return_dict=True)
    assert logs["averaged_loss"] == pytest.approx(
        copy.evaluate(*data, verbose=0), rel=1e-5
    )
    assert "clipped_fraction" not in logs
    history = fit(model, data, validation_data=data)
    assert "val_averaged_loss" in history


@pytest.mark.parametrize("jit_compile", [False, True])
def test_callbacks_and_compilation(
    private, budget, data, jit_compile, tmp_path
):
    model = private(
        plan=budget(), compiled={"jit_compile": jit_compile, "metrics": ["acc"]}
    )
    seen = []

    class Seen(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            seen.append(dict(logs))

    history = fit(
        model,
        data,
        3,
        validation_data=data,
        callbacks=[
            Seen(),
            keras.callbacks.LearningRateScheduler(
                lambda epoch: 0.1 / (1 + epoch)
            ),
            keras.callbacks.ReduceLROnPlateau("val_loss"),
            keras.callbacks.EarlyStopping("val_loss", patience=5),
            keras.callbacks.ModelCheckpoint(tmp_path / "{epoch}.keras"),
        ],
    )
    assert [each["epsilon"] for each in seen] == [4.0, 8.0, 12.0]
    assert history["learning_rate"] == pytest.approx([0.1, 0.05, 0.1 / 3])
    last = keras.models.load_model(tmp_path / "3.keras")
    assert last.count_of_updates() == 12


@pytest.mark.tensorflow
def test_eager(private, budget, data):
    model = private(plan=budget(), compiled={"run_eagerly": True})
    assert np.isfinite(fit(model, data)["loss"]).all()


def test_metrics_ignore_padding(private, budget):
    plan = budget(sampling="poisson")
    model = private(plan=plan, compiled={"metrics": ["accuracy"]})
    x = np.random.default_rng(0).normal(size=(8, 8)).astype("float32")
    y = np.argmax(model.base.predict(x, verbose=0), axis=1)
    y[4:] = (y[4:] + 1) % 3
    weight = np.repeat([1.0, 0.0], 4).astype("float32")
    logs = model.train_on_batch(x, y, weight, return_dict=True)
    assert logs["accuracy"] == 1.0
    expected = model.base.predict(x[:4], verbose=0)
    assert expected.shape == (4, 3)


def test_per_layer_clipping(private, data):
    clipping = privacy.PerLayerClipping(0.5)
    model, flat = private(l2_norm_clip=clipping), private()
    for index in range(6):
        one = [each[index : index + 1] for each in data]
        sums = arrays(model.clipped_sum(*one))
        full = arrays(flat.clipped_sum(*one))
        for part, whole in ((sums[:2], full[:2]), (sums[2:], full[2:])):
            norm = np.sqrt(sum(np.sum(each**2) for each in part))
            assert norm <= 0.5 / np.sqrt(2) * (1 + 1e-5)
            ratio = part[0] / whole[0]
            np.testing.assert_allclose(
                ratio, np.full_like(ratio, ratio.flat[0]), 1e-4
            )


@pytest.mark.parametrize("clip", [0.3, 3.0])
def test_rescaled_sums_do_not_depend_on_a_small_clip(private, data, clip):
    x, y = (each[:8] for each in data)
    rescaled = privacy.FlatClipping(clip, rescaled=True)
    model, plain = private(l2_norm_clip=rescaled), private(l2_norm_clip=clip)
    close(
        arrays(model.clipped_sum(x, y)),
        [each / clip for each in arrays(plain.clipped_sum(x, y))],
    )


def test_automatic_clipping_normalises(private, data):
    clipping = privacy.AutomaticClipping(2.0, rescaled=True, stability=0.01)
    model = private(l2_norm_clip=clipping)
    one = [each[:1] for each in data]
    (norm,) = arrays([model.per_example_norms(*one)])
    sums = arrays(model.clipped_sum(*one))
    length = np.sqrt(sum(np.sum(each**2) for each in sums))
    assert length == pytest.approx(float(norm[0] / (norm[0] + 0.01)), rel=1e-5)


def test_gradients_after_training_are_still_exact(private, budget, data):
    model = private(plan=budget())
    fit(model, data, 2)
    compare(model, data[0][:5], data[1][:5])
