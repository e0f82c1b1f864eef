"""Optimizers that take a variable as a whole are warned of beside `Repeat`."""

import warnings

import keras
import numpy as np
import pytest
from keras import layers, optimizers

from tfdeep.initializers import GradInit
from tfdeep.layers import Repeat
from tfdeep.models import stack
from tfdeep.privacy import GaussianMechanism, PrivateModel
from tfdeep.training import BatchEntropyRegularizer

X = np.random.default_rng(0).normal(size=(16, 4)).astype("float32")
RULES = {
    "`clipnorm`": lambda: optimizers.SGD(0.1, clipnorm=0.1),
    "Lamb": lambda: optimizers.Lamb(0.1),
    "Adafactor": lambda: optimizers.Adafactor(0.1),
    "Muon": lambda: optimizers.Muon(0.1),
}
PLAIN = {
    "SGD": lambda: optimizers.SGD(0.1, momentum=0.9),
    "AdamW": lambda: optimizers.AdamW(0.1, global_clipnorm=0.1),
}


def net(repeated=True):
    rows = [layers.Dense(4, "tanh") for _ in range(1 if repeated else 3)]
    if repeated:
        rows = [Repeat(rows[0], 3)]
    first, last = layers.Dense(4, "relu", name="low"), layers.Dense(4, "relu")
    return keras.Sequential([keras.Input((4,)), first, *rows, last])


def by_wrapper(optimizer, repeated=True):
    BatchEntropyRegularizer(net(repeated), ["low"]).compile(optimizer, "mse")


def by_private(optimizer, repeated=True):
    noise = GaussianMechanism(noise_multiplier=1.0)
    PrivateModel(net(repeated), mechanism=noise).compile(optimizer, "mse")


def by_stack(optimizer, repeated=True):
    model = net(repeated=False)
    if not repeated:
        model = keras.Sequential(
            [keras.Input((4,)), layers.Dense(3), layers.Dense(2)]
        )
    model.compile(optimizer, "mse")
    stack(model)


def by_grad_init(optimizer, repeated=True):
    model = net(repeated)
    model.compile(optimizer, "mse")
    GradInit(iterations=1, verbose=0, seed=0).initialize_model(
        model, (X, X), batch_size=8
    )


WAYS = [by_wrapper, by_private, by_stack, by_grad_init]


@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("rule", RULES)
def test_a_rule_for_whole_variables_is_named(rule, scaled):
    optimizer = RULES[rule]()
    if scaled:
        optimizer = optimizers.LossScaleOptimizer(optimizer)
    with pytest.warns(UserWarning, match=f"{rule} takes .*models.unstack"):
        by_wrapper(optimizer)


@pytest.mark.parametrize("way", WAYS[1:])
def test_everything_that_meets_an_optimizer_warns(way):
    if way is by_private:
        way(optimizers.SGD(0.1))  # Which refuses `clipnorm` and the like.
        rule = optimizers.Lamb(0.1)
    else:
        rule = optimizers.SGD(0.1, clipnorm=0.1)
    with pytest.warns(UserWarning, match="will not train as the same layers"):
        way(rule)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", [*PLAIN, "Lamb"])
def test_no_warning_without_need(kind, way):
    optimizer = {**PLAIN, **RULES}[kind]()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        way(optimizer, repeated=kind != "Lamb")


def test_the_warning_is_true():
    """With `clipnorm` the stacked net trains otherwise, as with no other."""
    distances = {}
    for name, make in {**PLAIN, "`clipnorm`": RULES["`clipnorm`"]}.items():
        keras.utils.set_random_seed(0)
        plain = net(repeated=False)
        stacked = stack(plain)
        for model in (plain, stacked):
            model.compile(make(), "mse")
            model.fit(X, 10 * X, verbose=0, shuffle=False)
        found = stacked.layers[1].weights[0].numpy()
        kernels = [layer.kernel.numpy() for layer in plain.layers[1:4]]
        distances[name] = float(np.max(np.abs(found - np.stack(kernels))))
    assert distances["SGD"] < 1e-6 and distances["AdamW"] < 1e-6
    assert distances["`clipnorm`"] > 1e-3
