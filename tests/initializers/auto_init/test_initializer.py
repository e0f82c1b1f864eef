"""AutoInit changes kernels, and nothing else, and nothing if it fails."""

import keras
import numpy as np
import pytest
from keras import layers

from tests.helpers import arrays
from tests.initializers.auto_init.nets import mlp
from tests.initializers.unchanged import unchanged
from tfdeep.initializers import AutoInit, propagate


def test_only_kernels_change():
    """Neither biases, statistics and seeds nor the compilation."""
    model = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            layers.Conv2D(4, 3),
            layers.BatchNormalization(),
            layers.Dropout(0.5, seed=1),
            layers.Flatten(),
            layers.Dense(2),
        ]
    )
    model.compile("sgd", "mse")
    before = {v.path: np.array(v) for v in model.variables}
    optimizer = model.optimizer
    assert AutoInit(seed=0).initialize_model(model) is model
    assert model.optimizer is optimizer
    for variable in model.variables:
        same = np.array_equal(np.array(variable), before[variable.path])
        assert same == ("kernel" not in variable.path), variable.path


def test_rescale_keeps_the_direction():
    """Kernels that are there are multiplied."""
    model = mlp(1)
    before = arrays(model.variables)[0]
    AutoInit(seed=0).initialize_model(model, mode="rescale")
    after = arrays(model.variables)[0]
    np.testing.assert_allclose(
        after / before, after[0, 0] / before[0, 0], rtol=1e-4
    )
    np.testing.assert_allclose(np.mean(after**2), 1 / 32, rtol=1e-4)


def test_frozen_and_zero_weights_are_left_and_reported():
    model = mlp(2)
    frozen, zero = model.layers[:2]
    frozen.trainable = False
    zero.kernel.assign(np.zeros(zero.kernel.shape))
    init = AutoInit(seed=0)
    with unchanged(model), pytest.warns(UserWarning, match="is zero"):
        init.initialize_model(model)
    reasons = dict(init.report.skipped)
    assert reasons[frozen.name] == "not trainable"
    assert reasons[zero.name] == "its weights are zero"
    assert reasons[model.layers[2].name] == "its inputs are zero"
    assert init.report.records[0].note == "left alone: not trainable"


def test_analysis_changes_nothing():
    """Neither `propagate` nor `verify`, which redraws the weights."""
    model = keras.Sequential(
        [keras.Input((8,)), layers.Dropout(0.5, seed=3)]
        + [layers.Dense(8, "relu"), layers.BatchNormalization()]
    )
    with unchanged(model):
        report = propagate(model)
        report.verify(draws=2)
    init = AutoInit(seed=0)
    init.initialize_model(model)
    with unchanged(model):
        init.report.verify(draws=2)


# What is not finite comes from another place each time: (method, weight).
NOT_FINITE = [
    ("resample", "bias", np.nan),
    ("resample", "gamma", np.inf),
    ("resample", "frozen", np.nan),
    ("rescale", "kernel", np.inf),
    ("rescale", "bias", np.inf),
    ("rescale", "frozen", np.nan),
    ("propagate", "kernel", np.nan),
    ("propagate", "gamma", np.inf),
    ("propagate", "frozen", np.inf),
]


def with_value(weight, value):
    """A model with a value that is not finite, and where it is."""
    model = mlp(2)
    model.add(layers.BatchNormalization())
    model.layers[1].trainable = False
    broken = {
        "kernel": model.layers[0].kernel,
        "bias": model.layers[0].bias,
        "gamma": model.layers[3].gamma,
        "frozen": model.layers[1].kernel,
    }[weight]
    values = np.array(broken)
    values.flat[0] = value
    broken.assign(values)
    return model, broken


@pytest.mark.parametrize("what,weight,value", NOT_FINITE)
def test_weights_that_are_not_finite_are_named(what, weight, value):
    """And the model is as it was."""
    model, broken = with_value(weight, value)
    init = AutoInit(seed=0)
    message = f"Received: values of '{broken.path}' that are"
    with unchanged(model), pytest.raises(ValueError, match=message):
        if what == "propagate":
            propagate(model)
        else:
            init.initialize_model(model, what)
    assert init.report is None


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_kernels_that_are_not_finite_are_drawn(value):
    """What they were does not matter."""
    model, _ = with_value("kernel", value)
    AutoInit(seed=0).initialize_model(model)
    assert all(np.all(np.isfinite(v)) for v in arrays(model.variables))


def test_a_failure_leaves_the_model_as_it_was():
    """Also Keras: calls are no longer watched."""

    class Failing(layers.Layer):
        def call(self, x):
            if self.failing:
                raise RuntimeError("no")
            return x

    last = Failing()
    last.failing = False
    model = keras.Sequential([*mlp().layers, last])
    model.build((None, 32))
    last.failing = True
    with unchanged(model), pytest.raises(RuntimeError, match="no"):
        AutoInit(seed=0).initialize_model(model)
    assert keras.layers.Layer.__call__.__module__.startswith("keras")


@pytest.mark.parametrize(
    "arguments,message",
    [
        ({"input_mean": float("inf")}, "Received: input_mean=inf"),
        ({"input_variance": 0.0}, "Received: input_variance=0.0"),
        ({"input_variance": "1"}, "Received: input_variance='1'"),
        ({"seed": "abc"}, "Received: seed='abc'"),
        ({"signal_variance": float("nan")}, "Received: signal_variance=nan"),
        ({"distribution": "normal"}, "Received: distribution='normal'"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        AutoInit(**arguments)


def test_bad_models():
    """What is none, has no inputs, or other inputs than the statistics."""
    init = AutoInit()
    with pytest.raises(TypeError, match="Received: model=Dense"):
        init.initialize_model(layers.Dense(2))
    with pytest.raises(ValueError, match="without known inputs"):
        init.initialize_model(keras.Sequential([layers.Dense(2)]))
    with pytest.raises(ValueError, match="Received: mode='add'"):
        init.initialize_model(mlp(), mode="add")
    with pytest.raises(ValueError, match="Received: 2 of them"):
        AutoInit([0.0, 1.0]).initialize_model(mlp())


def adapted():
    model = mlp(2)
    model.layers[1].enable_lora(2)
    return model


def adapted_inside():
    """Where the signal is not followed."""
    layer = layers.SpectralNormalization(layers.Dense(4))
    model = keras.Sequential([keras.Input((8,)), layers.Dense(8), layer])
    layer.layer.enable_lora(2)
    return model


def quantized():
    model = mlp(2)
    model.layers[1].quantize("int8")
    return model


@pytest.mark.parametrize("make", [adapted, adapted_inside, quantized])
def test_layers_that_multiply_with_something_else(make):
    """The message names the first, in one sentence."""
    model = make()
    message = r"Received: 'dense\S*' (with LoRA|quantized \(int8\))\. [^\n]*$"
    with unchanged(model), pytest.raises(ValueError, match=message):
        AutoInit(seed=0).initialize_model(model)
