"""What layers say of the layers within them."""

import keras
import pytest
from keras import layers

from tests.contract.cases import is_variant, layer_names
from tests.contract.harness import build, model_of
from tfdeep.graph.parts import every_part, parts_of
from tfdeep.keras_internals import layers_of
from tfdeep.layers import Repeat, StochasticDepth
from tfdeep.layers.shortcuts import ZeroPadShortcut

NAMES = [name for name in layer_names() if not is_variant(name)]


class Silent(layers.Layer):
    """Holds a layer, and does not say so."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.inner = layers.Dense(3)


class Outspoken(Silent):
    def inner_parts(self):
        return [(self.inner, 4)]


@pytest.mark.parametrize("name", NAMES)
def test_our_layers_of_layers_say_all_of_them(name):
    kind = type(build(name))
    model = model_of(name)
    layer = next(each for each in model.layers if isinstance(each, kind))
    parts = parts_of(layer)
    assert parts is not None
    said = {id(each) for part, _ in parts for each in layers_of(part)}
    held = {id(each) for each in layers_of(layer)[1:]}
    assert held <= said


def test_a_layer_without_parts_has_none():
    assert parts_of(layers.Dense(3)) == []
    assert parts_of(ZeroPadShortcut(4)) == []


def test_one_that_does_not_say_is_opaque_and_not_empty():
    silent = Silent()
    assert parts_of(silent) is None
    assert every_part(silent) == [silent, silent.inner]


def test_one_of_a_users_own_may_say():
    layer = Outspoken()
    assert parts_of(layer) == [(layer.inner, 4)]


def test_those_of_keras_are_known():
    both = layers.Bidirectional(layers.LSTM(3))
    assert [p for p, _ in parts_of(both)] == [
        both.forward_layer,
        both.backward_layer,
    ]
    each = layers.TimeDistributed(layers.Dense(3))
    assert parts_of(each) == [(each.layer, 1)]


def test_a_model_is_its_layers():
    model = keras.Sequential([keras.Input((3,)), layers.Dense(3)])
    assert [p for p, _ in parts_of(model)] == model.layers


def test_every_part_at_any_depth_once():
    dense = layers.Dense(3)
    inner = Repeat(StochasticDepth(layers.Dense(3), 0.5), 4)
    inputs = keras.Input((3,))
    model = keras.Model(inputs, inner(dense(dense(inputs))))
    found = every_part(model)
    assert sum(part is dense for part in found) == 1
    assert sum(isinstance(part, StochasticDepth) for part in found) == 1
    assert sum(isinstance(part, layers.Dense) for part in found) == 2
