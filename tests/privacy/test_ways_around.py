"""Ways that once led around the clip, the noise or the count."""

import functools
import warnings

import keras
import numpy as np
import pytest
from keras import layers, ops

from tests.helpers import arrays
from tfdeep import privacy
from tfdeep.privacy import (
    GaussianMechanism,
    NotPrivateError,
    Plan,
    PrivateModel,
)

SILENT = GaussianMechanism(noise_multiplier=0.0)


def mix(tensor):
    """Takes the mean of the batch off each example."""
    return tensor - ops.mean(tensor, axis=0, keepdims=True)


def private(base, loss="mse", **settings):
    model = PrivateModel(base, mechanism=SILENT, **settings)
    model.compile(keras.optimizers.SGD(1.0), loss)
    return model


def influence(model, x, y, other) -> float:
    """How far the clipped sum moves if row 3 becomes another one."""
    changed = np.array(x)
    changed[3] = other
    sums = [arrays(model.clipped_sum(each, y)) for each in (x, changed)]
    pairs = zip(*sums, strict=True)
    return float(np.sqrt(sum(np.sum((a - b) ** 2) for a, b in pairs)))


def vectors(layer, *more):
    inputs = keras.Input((6,))
    x = layer([inputs, inputs]) if more else layer(inputs)
    return keras.Model(inputs, layers.Dense(3)(x))


class Mixing(keras.Model):
    """A Functional model without weights, whose own call mixes."""

    def call(self, inputs, training=None, mask=None):
        return mix(inputs)


class Relu(keras.Operation):
    """Called like one of Keras'."""

    def call(self, x):
        return mix(x)

    def compute_output_spec(self, x):
        return keras.KerasTensor(x.shape, x.dtype)


def functional_subclass():
    inputs = keras.Input((6,))
    inner = Mixing(inputs, layers.ReLU()(inputs))
    outer = keras.Input((6,))
    return keras.Model(outer, layers.Dense(3)(inner(outer)))


def named_relu():
    inputs = keras.Input((6,))
    return keras.Model(inputs, layers.Dense(3)(Relu()(inputs)))


def reversed_batch():
    inputs = keras.Input((6,))
    return keras.Model(inputs, layers.Dense(3)(inputs[..., ::-1, :]))


def wrapped():
    named = functools.wraps(keras.activations.relu)(mix)
    return vectors(layers.Dense(6, activation=named))


MIXING = {
    "a function with another's name": wrapped,
    "a function of Keras": lambda: vectors(layers.Activation(ops.flip)),
    "additive attention": lambda: vectors(layers.AdditiveAttention(), 2),
    "attention": lambda: vectors(layers.Attention(), 2),
    "a Functional subclass": functional_subclass,
    "an operation's name": named_relu,
    "an ellipsis": reversed_batch,
}


@pytest.mark.filterwarnings("ignore:.*softmax over axis -1")
@pytest.mark.parametrize("name", MIXING)
def test_what_mixes_examples_is_differentiated_one_by_one(name):
    keras.utils.set_random_seed(0)
    x = np.random.default_rng(0).normal(size=(8, 6)).astype("float32")
    y = np.random.default_rng(1).normal(size=(8, 3)).astype("float32")
    model = private(MIXING[name]())
    assert influence(model, x, y, 1e3) <= 2.001


@pytest.mark.parametrize("layer", [layers.AutoContrast, layers.RandomContrast])
def test_pictures_without_channels_are_no_picture(layer):
    """Their batch would be taken for one picture."""
    augment = layer((0.0, 255.0)) if layer is layers.AutoContrast else None
    augment = augment or layer(0.9, seed=1)
    inputs = keras.Input((8, 8))
    base = keras.Model(inputs, layers.Dense(3)(layers.Flatten()(inputs)))
    x = np.random.default_rng(0).uniform(0, 255, (8, 8, 8)).astype("float32")
    y = np.zeros((8, 3), "float32")
    model = private(base, augmentation=privacy.Views(augment, 1))
    shown = model.augmentation
    assert shown.layer is augment
    assert influence(model, x, y, 0.0) <= 2.001


@pytest.mark.parametrize("scale", [1e7, 1e9, 1e12])
@pytest.mark.parametrize("form", ["table", "positions"])
def test_terms_that_cancel_leave_other_examples_alone(form, scale):
    """A gradient of 0, of terms that would round off those of all others."""
    if form == "table":
        inputs = keras.Input((2,), dtype="int32")
        base = keras.Model(inputs, layers.Embedding(3, 32)(inputs))
        x = np.ones((64, 2), "int32")
    else:
        inputs = keras.Input((2, 32))
        base = keras.Model(inputs, layers.Dense(32)(inputs))
        x = np.ones((64, 2, 32), "float32")
    y = 100 * np.ones((64, 2, 32), "float32")
    spoilt = y.copy()
    spoilt[40, 0], spoilt[40, 1] = scale, -scale
    model = private(base)
    sums = [arrays(model.clipped_sum(x, each)) for each in (y, spoilt)]
    pairs = zip(*sums, strict=True)
    moved = np.sqrt(sum(np.sum((a - b) ** 2) for a, b in pairs))
    assert moved <= 2.01


def test_a_layer_changed_after_compile():
    inputs = keras.Input((6,))
    activation = layers.Activation("linear")
    model = private(keras.Model(inputs, layers.Dense(3)(activation(inputs))))
    x, y = np.ones((8, 6), "float32"), np.ones((8, 3), "float32")
    model.train_on_batch(x, y)
    activation.activation = mix
    with pytest.raises(NotPrivateError, match="no longer compute"):
        model.train_on_batch(x, y)
    with pytest.raises(NotPrivateError, match="no longer compute"):
        model.clipped_sum(x, y)
    model.compile(keras.optimizers.SGD(1.0), "mse")
    assert influence(model, np.eye(8, 6), y, 1e3) <= 2.001


def test_views_keep_nothing_of_raw_examples():
    views = privacy.Views(layers.BatchNormalization(), 2)
    inputs = keras.Input((6,))
    model = private(
        keras.Model(inputs, layers.Dense(3)(inputs)), augmentation=views
    )
    x, y = np.ones((8, 6), "float32"), np.ones((8, 3), "float32")
    with pytest.raises(ValueError, match="`layer` must have no weights"):
        model.train_on_batch(x, y)


def planned(noise=1.0, steps=4, sampling="shuffled"):
    plan = Plan(
        num_examples=8,
        batch_size=4,
        steps=steps,
        delta=1e-3,
        noise_multiplier=noise,
        sampling=sampling,
    )
    base = keras.Sequential([keras.Input((6,)), layers.Dense(3)])
    model = PrivateModel(base, plan)
    model.compile(keras.optimizers.SGD(0.1), "mse")
    return model


X, Y = np.ones((8, 6), "float32"), np.ones((8, 3), "float32")


def test_state_that_is_put_back():
    model = planned()
    saved = arrays(model.variables)
    model.fit(X, Y, batch_size=4, verbose=0)
    for variable, value in zip(model.variables, saved, strict=True):
        variable.assign(value)
    with pytest.raises(NotPrivateError, match="must not be put back"):
        model.fit(X, Y, batch_size=4, verbose=0)


def test_state_that_is_put_back_during_fit():
    model = planned(steps=100)
    saved = arrays(model.variables)

    class PutBack(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            pairs = zip(self.model.variables, saved, strict=True)
            for variable, value in pairs:
                variable.assign(value)

    with pytest.raises(NotPrivateError, match="must not be put back"):
        model.fit(X, Y, 4, verbose=0, epochs=9, callbacks=[PutBack()])


@pytest.mark.parametrize("way", ["weights", "resumable"])
def test_a_file_of_another_plan(way, tmp_path):
    weak, strong = planned(0.3), planned(5.0)
    weak.fit(X, Y, batch_size=4, verbose=0)
    strong.build((None, 6))
    if way == "weights":
        path = tmp_path / "weak.weights.h5"
        weak.save_weights(path)
        load = strong.load_weights
    else:
        path = tmp_path / "weak.secret.npz"
        weak.save_resumable(path)
        load = strong.load_resumable
    with pytest.raises(Exception, match="must have been made under the plan"):
        load(path)
    twin = planned(0.3)
    (twin.load_weights if way == "weights" else twin.load_resumable)(path)
    assert twin.count_of_updates() == 2


def test_a_file_that_says_nothing_of_updates(tmp_path):
    model = planned()
    model.fit(X, Y, batch_size=4, verbose=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Of the format, which is old.
        model.save(tmp_path / "old.h5")
    with pytest.warns(UserWarning, match="does not say of how many"):
        planned().load_weights(tmp_path / "old.h5")


def test_another_plan_takes_another_model():
    with pytest.raises(AttributeError):
        planned().plan = None


@pytest.mark.parametrize("shuffle", [False, "batch", None])
def test_batches_that_are_cut_in_the_order_of_the_data(shuffle):
    with pytest.raises(NotPrivateError, match="must be shuffled"):
        planned().fit(X, Y, batch_size=4, verbose=0, shuffle=shuffle)


class TestPoisson:
    def sampled(self, seed=None):
        model = planned(sampling="poisson")
        return model, privacy.poisson_batches(X, Y, model.plan, seed=seed)

    def test_rows_of_ones_own_with_the_weights_of_a_sample(self):
        model, batches = self.sampled()
        _, y, weights = batches[0]
        if not weights.any():
            weights.flags.writeable = True
            weights[0] = 1.0
        with pytest.raises(NotPrivateError, match="must be a Poisson sample"):
            model.train_on_batch(np.ones((len(y), 6), "float32"), y, weights)

    def test_a_sample_cannot_be_written_to(self):
        _, batches = self.sampled()
        for array in batches[0]:
            with pytest.raises(ValueError, match="read-only"):
                array[:] = 1

    def test_batches_of_another_class(self):
        model, batches = self.sampled()

        class Cached(type(batches)):
            def __getitem__(self, index):
                return super().__getitem__(0)

        cached = Cached(X, Y, model.plan)
        with pytest.raises(NotPrivateError, match="ordinary batches"):
            model.fit(cached, verbose=0)

    def test_a_seed_of_the_samples_is_in_the_statement(self):
        model, batches = self.sampled(seed=0)
        assert "UNFIT" not in model.statement()
        model.fit(batches, verbose=0)
        assert "UNFIT" in model.statement()


def test_the_count_of_those_left_out_is_in_no_file(tmp_path):
    """It would say exactly how many of the examples there are."""
    model = planned()
    rows = X.copy()
    rows[2] = np.nan
    model.fit(rows, Y, batch_size=4, verbose=0)
    assert int(ops.convert_to_numpy(model.non_finite_examples)) == 1
    assert not any("non_finite" in weight.path for weight in model.weights)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert int(ops.convert_to_numpy(loaded.non_finite_examples)) == 0
    assert loaded.count_of_updates() == 2
