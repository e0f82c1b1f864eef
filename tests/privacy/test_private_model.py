"""A private model is a Keras model: `fit`, callbacks, metrics and files."""

import keras
import numpy as np
import pytest
from keras import layers

from tests.helpers import arrays, close
from tests.privacy.in_order import InOrder
from tests.privacy.reference import gradient, row
from tfdeep import privacy
from tfdeep.privacy import Plan, PrivateModel


def fit(model, data, epochs=1, **arguments):
    batches = InOrder(data, 8)
    return model.fit(batches, epochs=epochs, verbose=0, **arguments).history


MODES = {
    "graph": {},
    "xla": {"jit_compile": True},
    "eager": {"run_eagerly": True},
}


@pytest.mark.parametrize(
    "mode",
    ["graph", pytest.param("xla", marks=pytest.mark.slow), "eager"],
)
def test_without_clip_and_noise_it_is_the_plain_model(
    mode, private, budget, data
):
    if mode == "eager" and keras.backend.backend() == "jax":
        pytest.skip("Keras has no eager training on JAX.")
    model = private(
        plan=budget(num_examples=16, noise_multiplier=0.0),
        l2_norm_clip=1e6,
        compiled=MODES[mode],
    )
    plain = keras.models.clone_model(model.base)
    plain.set_weights(model.base.get_weights())
    plain.compile(keras.optimizers.SGD(0.1), model.loss)
    data = [each[:16] for each in data]
    ours, theirs = fit(model, data), fit(plain, data)
    np.testing.assert_allclose(ours["loss"], theirs["loss"], rtol=1e-5)
    close(model.base.get_weights(), plain.get_weights())
    # The weights have changed; what is asked now is asked of the new ones.
    x, y = (each[:3] for each in data)
    each = [gradient(plain, row(x, i), row(y, i)) for i in range(3)]
    sums = arrays(model.clipped_sum(x, y))
    close(sums, [sum(a) for a in zip(*each, strict=True)])


def test_the_model_inside_stays_plain(private, budget, data):
    model = private(plan=budget())
    fit(model, data)
    np.testing.assert_array_equal(
        model.predict(data[0], verbose=0),
        model.base.predict(data[0], verbose=0),
    )
    names = {weight.path for weight in model.base.weights}
    assert not any("updates" in name for name in names)
    assert (model.input_shape, model.output_shape) == ((None, 8), (None, 3))


@pytest.mark.tensorflow
def test_the_step_is_compiled_by_xla_only_where_that_is_fast(private, budget):
    import tensorflow as tf

    slow = not tf.config.list_physical_devices("GPU")
    model = private(plan=budget())
    assert model.jit_compile is not slow
    asked = private(plan=budget(), compiled={"jit_compile": True})
    assert asked.jit_compile


def test_callbacks_see_epsilon_and_steer(private, budget, data, tmp_path):
    model = private(plan=budget(), compiled={"metrics": ["acc"]})
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
    assert {"loss", "acc", "val_loss", "val_acc"} <= set(seen[0])
    assert history["learning_rate"] == pytest.approx([0.1, 0.05, 0.1 / 3])
    last = keras.models.load_model(tmp_path / "3.keras")
    assert last.count_of_updates() == 12


def test_metrics_ignore_padding(private, data):
    """What is right of the examples alone is shown; rows of 0 are wrong."""
    plan = Plan(32, 8, 10, 1e-5, accountant="rdp", noise_multiplier=1.0)
    model = private(plan=plan, compiled={"metrics": ["accuracy"]})
    model.base.layers[-1].bias.assign([0.0, 0.1, 0.0])
    x, _ = data
    y = np.argmax(model.base.predict(x, verbose=0), axis=1)
    batch = privacy.poisson_batches(x, y, plan, seed=0)[0]
    assert 0 < np.sum(batch[2]) < len(batch[2])
    logs = model.train_on_batch(*batch, return_dict=True)
    assert logs["accuracy"] == 1.0


def test_penalties_on_weights_come_after_the_clip(budget):
    penalty = keras.regularizers.L2(0.1)
    base = keras.Sequential(
        [keras.Input((8,)), layers.Dense(3, kernel_regularizer=penalty)]
    )
    model = PrivateModel(base, plan=budget(noise_multiplier=0.0))
    model.compile(keras.optimizers.SGD(1.0), "mse")
    before = base.get_weights()[0]
    x, y = np.zeros((8, 8), "float32"), np.zeros((8, 3), "float32")
    model.train_on_batch(x, y, np.zeros(8, "float32"))
    np.testing.assert_allclose(base.get_weights()[0], 0.8 * before, rtol=1e-5)


def test_a_config_makes_the_same(budget):
    """With every argument another than it is by default."""
    base = keras.Sequential([keras.Input((8,)), layers.Dense(3)])
    model = PrivateModel(
        base,
        plan=budget(steps=7),
        l2_norm_clip=privacy.AutomaticClipping(2.0, True, 0.5),
        mechanism=privacy.AdaptiveClipping(0.7, 0.3, 11.0, 1.0, 16),
        method="vectorized",
        augmentation=privacy.Views(layers.RandomFlip("vertical"), 3),
        microbatch_size=5,
        averaging=privacy.Averaging(0.5),
        seed=4,
        name="mine",
    )
    config = model.get_config()
    again = PrivateModel.from_config(config)
    assert again.get_config() == config
    assert vars(again.plan) == vars(model.plan)
    for name in ("clipping", "mechanism", "augmentation", "averaging"):
        ours, theirs = getattr(again, name), getattr(model, name)
        assert type(ours) is type(theirs)
        assert ours.get_config() == theirs.get_config()
    for name in ("method", "microbatch_size", "name"):
        assert getattr(again, name) == getattr(model, name)
    assert again.noise.seed == model.noise.seed == 4
