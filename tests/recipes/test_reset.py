"""Reset: the model of a new seed, in the graph of the old one."""

import keras
import numpy as np
import pytest

from tfdeep.recipes.reset import beginning, reset


class Traced(keras.layers.Layer):
    """Counts the calls that trace it."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.calls = 0

    def call(self, x):
        self.calls += 1
        return x


def build(optimizer="adam", traced=True):
    model = keras.Sequential(
        [
            keras.layers.Input((6,)),
            keras.layers.Dense(4),
            keras.layers.BatchNormalization(),
            Traced(name="traced"),
            keras.layers.Dropout(0.5),
            keras.layers.Dense(3, "softmax"),
        ]
    )
    rate = keras.optimizers.schedules.ExponentialDecay(0.05, 2, 0.5)
    made = {
        "adam": lambda: keras.optimizers.Adam(rate),
        "adagrad": lambda: keras.optimizers.Adagrad(0.1),
        "average": lambda: keras.optimizers.SGD(
            0.1, momentum=0.9, use_ema=True
        ),
    }[optimizer]()
    model.compile(
        made,
        "sparse_categorical_crossentropy",
        metrics=["accuracy"],
        run_eagerly=not traced,
    )
    return model


def data():
    rng = np.random.default_rng(0)
    return rng.normal(size=(20, 6)).astype("float32"), np.arange(20) % 3


def train(model):
    x, y = data()
    # On JAX the first `fit` of a model draws a batch more than a later one.
    shuffle = keras.config.backend() != "jax"
    fitted = model.fit(x, y, batch_size=8, verbose=0, shuffle=shuffle)
    return fitted.history["loss"]


def values(model):
    variables = [*model.variables, *model.optimizer.variables]
    return [np.array(variable) for variable in variables]


def new(seed, *how):
    keras.utils.set_random_seed(seed)
    model = build(*how)
    keras.utils.set_random_seed(seed)
    return model


@pytest.mark.parametrize(
    "optimizer, traced",
    [
        pytest.param("adam", True, marks=pytest.mark.slow),
        ("adagrad", False),
        ("average", False),
    ],
)
def test_reset_is_a_new_model_and_traces_nothing(optimizer, traced):
    model = new(1, optimizer, traced)
    train(model)
    calls = model.get_layer("traced").calls

    reset(model, 2, lambda: build(optimizer, traced))
    losses = train(model)

    assert not traced or model.get_layer("traced").calls == calls
    fresh = new(2, optimizer, traced)
    np.testing.assert_allclose(losses, train(fresh), rtol=1e-6)
    for ours, theirs in zip(values(model), values(fresh), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-7)


def test_reset_undoes_a_changed_learning_rate():
    model = new(0, "adagrad")
    model.optimizer.learning_rate = 0.001
    reset(model, 0, lambda: build("adagrad"))
    assert float(np.array(model.optimizer.learning_rate)) == pytest.approx(0.1)


def test_reset_without_build_is_reproducible():
    model = new(1, "adam", False)
    runs = []
    for seed in (3, 4, 3):
        reset(model, seed)
        runs.append(train(model))
    assert runs[0] == pytest.approx(runs[2], rel=1e-6)
    assert runs[0] != pytest.approx(runs[1], rel=1e-3)


def test_reset_refuses_another_architecture():
    other = keras.Sequential([keras.layers.Input((2,)), keras.layers.Dense(1)])
    other.compile("sgd", "mse")
    with pytest.raises(
        ValueError, match="Pass the `build` that built the model"
    ):
        reset(build(), 0, lambda: other)


def test_beginning_repeats_a_training():
    model = build("adam", False)
    train(model)  # Not the very first `fit`, see `train`.
    restart = beginning(model, seed=3)
    runs = []
    for _ in range(3):
        restart()
        runs.append(train(model))
    assert runs[0] == runs[1] == runs[2]
