"""Which segments of a model cannot be."""

import math

import keras
import numpy as np
import pytest
from keras import layers

from tests.training.harness import EAGER, fit
from tests.training.reaches import chain, heads
from tfdeep.training import RelayBackpropagation, describe_reach


def shared():
    layer = layers.Dense(6, name="same")
    inputs = keras.Input((8,))
    x = layers.Dense(6, name="low")(inputs)
    x = layer(layers.Dense(6, name="mid")(layer(x)))
    x = layers.Dense(6, name="high")(x)
    return keras.Model(inputs, layers.Dense(3, name="out")(x))


@pytest.mark.parametrize(
    "make, names, arguments, error, message",
    [
        (
            chain,
            ["d3"],
            {"segments": {"d3": ("d0", "d3"), "output": ("d5", "out")}},
            ValueError,
            r"gap: the layers \['d4'\] get no",
        ),
        (
            chain,
            ["d3"],
            {"segments": {"d3": ("d1", "d3"), "output": ("d2", "out")}},
            ValueError,
            r"gap: the layers \['d0'\] get no",
        ),
        (
            chain,
            ["d3"],
            {"segments": {"d3": ("d7", "d3"), "output": ("d3", "out")}},
            ValueError,
            "Did you mean 'd",
        ),
        (
            chain,
            ["d3"],
            {"segments": {"d3": ("d0", "d3"), "outputs": ("d3", "out")}},
            ValueError,
            r"Received: 'outputs'.*Did you mean 'output'",
        ),
        (
            chain,
            ["d3"],
            {"segments": {"output": ("d3", "out")}},
            ValueError,
            r"none for \['d3'\]",
        ),
        (
            chain,
            ["d3"],
            {"segments": {"d3": ("d0", "d2"), "output": ("d2", "out")}},
            ValueError,
            "must end at 'd3'",
        ),
        (
            chain,
            ["d3"],
            {"segments": {"d3": "d0", "output": ("d3", "out")}},
            TypeError,
            "Pass a pair",
        ),
        (
            chain,
            ["d3"],
            {"segments": {"d3": ("d2", "d3"), "output": ("d0", "out")}},
            ValueError,
            "must begin above all others",
        ),
        (chain, ["d3"], {"segments": "blocks"}, TypeError, "'auto' or a"),
        *(
            (chain, ["d3"], {"overlap": n}, ValueError, "number of at least 0")
            for n in (-1, 1.5, "1", True, math.nan)
        ),
        (chain, ["d9"], {}, ValueError, "Did you mean"),
        (chain, ["out"], {}, ValueError, "makes the model's output"),
        (shared, ["mid"], {}, ValueError, "begins between .* and 'same'"),
        (shared, ["same#2"], {}, ValueError, "begins between .* and 'same'"),
    ],
)
def test_what_cannot_be(make, names, arguments, error, message):
    with pytest.raises(error, match=message):
        RelayBackpropagation(make(), heads(*names), **arguments)


def test_a_shared_layer_within_a_segment(data, crossentropy):
    wrapper = RelayBackpropagation(shared(), heads("high"))
    wrapper.compile("sgd", crossentropy, **EAGER)
    assert np.isfinite(fit(wrapper, data)["loss"]).all()


def test_frozen_layers_leave_no_gap(data, crossentropy):
    model = chain()
    for index in range(2):
        model.get_layer(f"d{index}").trainable = False
    segments = {"d4": ("d2", "d4"), "output": ("d4", "out")}
    wrapper = RelayBackpropagation(model, heads("d4"), segments)
    wrapper.compile("sgd", crossentropy, **EAGER)
    fit(wrapper, data)
    assert describe_reach(wrapper).layers[0] == "d2"
