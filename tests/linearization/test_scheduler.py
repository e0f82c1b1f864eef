"""Dense training, penalty, frozen fine-tuning, in one `fit` or several."""

import keras
import numpy as np
import pytest
from keras import layers

import tfdeep
from tests.helpers import BACKEND, arrays, images
from tfdeep.callbacks import LinearizationScheduler
from tfdeep.keras_internals import excluded_by, key_of
from tfdeep.layers import Repeat, SparsePReLU
from tfdeep.linearization import linearize, path_length
from tfdeep.linearization.scheduler import units_of

X = images(32, 6)
Y = X[:, :2] - X[:, 2:4]


def net(optimizer=None, **compiled):
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((6,)),
            layers.Dense(8, "relu"),
            layers.Dense(8, "relu"),
            layers.Dense(2),
        ]
    )
    model = linearize(model)
    compiled.setdefault("jit_compile", BACKEND == "jax")
    optimizer = optimizer or keras.optimizers.SGD(0.02, 0.9)
    model.compile(optimizer, "mse", **compiled)
    return model


def fit(model, scheduler, epochs, **arguments):
    return model.fit(
        *(X, Y, 8),
        epochs=epochs,
        callbacks=[scheduler],
        shuffle=False,
        verbose=0,
        **arguments,
    ).history


class Slopes(keras.callbacks.Callback):
    """Notes the slopes in force after each epoch."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def on_epoch_end(self, epoch, logs=None):
        units = units_of(self.model)
        self.seen.append(
            np.concatenate([arrays([u.slopes_in_force()])[0] for u in units])
        )


MODES = [{"jit_compile": True}]
if BACKEND == "tensorflow":
    MODES += [{"jit_compile": False}, {"run_eagerly": True}]


@pytest.mark.parametrize("mode", MODES)
def test_three_phases(mode):
    model, seen = net(**mode), Slopes()
    scheduler = LinearizationScheduler(2, 5, 3.0)
    history = model.fit(
        *(X, Y, 8), epochs=8, callbacks=[scheduler, seen], verbose=0
    ).history
    slopes = np.array(seen.seen)
    assert not slopes[:2].any()
    assert slopes[2].any() and (slopes[3] != slopes[2]).any()
    for later in slopes[5:]:
        np.testing.assert_array_equal(later, slopes[4])
    active = history["active_units"]
    assert active[:2] == [16.0, 16.0] and active[-1] < 16.0
    assert active == sorted(active, reverse=True)
    names = [unit.name for unit in units_of(model)]
    layers_ = [history[f"active_units/{name}"] for name in names]
    assert np.sum(layers_, axis=0).tolist() == active
    assert history["path_length"][0] == 2.0
    assert history["path_length"][-1] == pytest.approx(
        float(path_length(model))
    )
    np.testing.assert_allclose(
        scheduler.active_shares.mean(1) * 16, active, 1e-6
    )
    assert scheduler.names == names


def test_before_the_penalty_it_is_the_plain_net():
    """The weights are those of training with ReLU, bit for bit but for sums."""
    model = net()
    fit(model, LinearizationScheduler(3, 4, 1.0), 3)
    plain = net()
    for unit in units_of(plain):
        unit.trainable = False
    plain.compile(
        keras.optimizers.SGD(0.02, 0.9), "mse", jit_compile=BACKEND == "jax"
    )
    plain.fit(X, Y, 8, epochs=3, shuffle=False, verbose=0)
    for one, other in zip(model.layers, plain.layers, strict=True):
        if isinstance(one, layers.Dense):
            np.testing.assert_allclose(
                *arrays([one.kernel, other.kernel]), 1e-6, 1e-6
            )


def test_it_resumes_from_a_file(tmp_path):
    whole, half = net(), net()
    expected = fit(whole, LinearizationScheduler(1, 4, 0.3), 6)
    fit(half, LinearizationScheduler(1, 4, 0.3), 3)
    half.save(tmp_path / "half.keras")
    loaded = keras.models.load_model(tmp_path / "half.keras")
    rest = fit(*(loaded, LinearizationScheduler(1, 4, 0.3), 6), initial_epoch=3)
    assert rest["active_units"] == expected["active_units"][3:]
    assert rest["loss"] == pytest.approx(expected["loss"][3:], rel=1e-5)


def test_a_target_freezes_the_pattern_and_training_goes_on():
    model, seen = net(), Slopes()
    scheduler = LinearizationScheduler(0, 30, 1.0, target=0.6)
    history = model.fit(
        *(X, Y, 8), epochs=20, callbacks=[scheduler, seen], verbose=0
    ).history
    active = np.array(history["active_units"])
    (reached,) = np.nonzero(active <= 0.6 * 16)
    first = reached[0]
    assert 0 < first < 18 and (active[first:] == active[first]).all()
    np.testing.assert_array_equal(seen.seen[first], seen.seen[-1])
    losses = history["loss"][first + 1 :]
    assert losses[0] != losses[-1]
    units = units_of(model)
    assert all(float(unit.strength_now) == 0.0 for unit in units)


def test_slopes_do_not_decay():
    optimizer = keras.optimizers.AdamW(0.01, weight_decay=0.5)
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    model = keras.Sequential(
        [keras.Input((6,)), SparsePReLU(0.0), layers.Dense(2)]
    )
    model.compile(optimizer, "mse", jit_compile=BACKEND == "jax")
    model.fit(X, Y, verbose=0)
    fit(model, LinearizationScheduler(0, 1, 1.0), 1)
    (unit,) = units_of(model)
    assert key_of(optimizer, unit.slopes) in excluded_by(optimizer)


@pytest.mark.parametrize("steps", [1, 3])
def test_wrappers_and_several_steps_at_once(steps):
    model = net()
    wrapper = tfdeep.BatchEntropyRegularizer(model, beta=0.1)
    wrapper.compile(
        keras.optimizers.SGD(0.02),
        "mse",
        jit_compile=BACKEND == "jax",
        steps_per_execution=steps,
    )
    history = fit(wrapper, LinearizationScheduler(0, 3, 20.0), 4)
    assert history["active_units"][-1] < 16
    assert history["path_length"][-1] == pytest.approx(
        float(path_length(model))
    )


def test_a_model_without_a_path_length_is_trained_without_it():
    inputs = keras.Input((6,))
    x = SparsePReLU()(layers.Dense(6)(inputs))
    model = keras.Model(inputs, layers.Dense(2)(layers.Multiply()([x, inputs])))
    model.compile("sgd", "mse", jit_compile=BACKEND == "jax")
    history = fit(model, LinearizationScheduler(0, 1, 0.1), 2)
    assert "path_length" not in history and len(history["active_units"]) == 2


def test_it_draws_layers_by_epochs(tmp_path):
    pytest.importorskip("matplotlib")
    scheduler = LinearizationScheduler(0, 2, 1.0)
    with pytest.raises(ValueError, match="something to draw"):
        scheduler.plot()
    fit(net(), scheduler, 2)
    scheduler.plot(tmp_path / "active.png")
    assert (tmp_path / "active.png").stat().st_size > 1000


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ((-1, 3, 1.0), "start"),
        ((1.5, 3, 1.0), "start"),
        ((3, 3, 1.0), "stop"),
        ((0, 3, 0.0), "strength"),
        ((0, 3, -1.0), "strength"),
        ((0, 3, 1.0, 2.0), "target"),
    ],
)
def test_bad_arguments(arguments, named):
    with pytest.raises(ValueError, match=named):
        LinearizationScheduler(*arguments)


def plain():
    return keras.Sequential([keras.Input((6,)), layers.Dense(2)])


def repeated():
    inner = Repeat(SparsePReLU(), 2)
    return keras.Sequential([keras.Input((6,)), inner, layers.Dense(2)])


@pytest.mark.parametrize(
    ("make", "message"), [(plain, "linearize"), (repeated, "unstack")]
)
def test_bad_models(make, message):
    model = make()
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match=message):
        fit(model, LinearizationScheduler(0, 1, 1.0), 1)
