"""Calls that are seen only while they are made."""

import threading

import keras
import numpy as np
import pytest
from keras import layers

from tests.initializers.auto_init.nets import single
from tfdeep.initializers import AutoInit, propagate, signal_rule
from tfdeep.initializers.auto_init.interception import intercept, unseen


def noted(names):
    def handler(operation, call, args, kwargs):
        names.append(operation.name)
        return call(*args, **kwargs)

    return handler


class Around(layers.Wrapper):
    def call(self, x):
        return self.layer(x)


def test_each_call_once_and_those_within_it():
    names, x = [], np.ones((1, 2), "float32")
    around = Around(layers.Dense(2, name="dense"), name="around")
    with intercept(noted(names)):
        around(x)
        with unseen():
            around(x)
    around(x)
    assert names == ["around", "dense"]
    with intercept(noted(names), but=around):
        around(x)
    assert names[2:] == ["dense"]


def test_calls_are_as_they_were_afterwards():
    """Whatever happens, in each of several at a time."""
    kinds = (keras.layers.Layer, keras.Operation)
    before = [kind.__call__ for kind in kinds]
    with pytest.raises(ZeroDivisionError), intercept(noted([])):
        with intercept(noted([])):
            1 / 0  # noqa: B018
    assert [kind.__call__ for kind in kinds] == before


def test_other_threads_are_not_seen():
    names, layer = [], layers.Dense(2, name="other")
    with intercept(noted(names)):
        thread = threading.Thread(target=layer, args=(np.ones((1, 2)),))
        thread.start()
        thread.join()
    assert layer.built and not names


class Unusual(Exception):
    def __init__(self, one, two):
        super().__init__(one, two)


def test_errors_come_out_as_they_were_raised():
    """Keras would make others of them, in layers within layers."""

    def handler(operation, call, args, kwargs):
        if operation.name == "dense":
            raise Unusual(1, 2)
        return call(*args, **kwargs)

    around = Around(layers.Dense(2, name="dense"))
    with pytest.raises(Unusual), intercept(handler):
        around(np.ones((1, 2), "float32"))


class Doubled(layers.Wrapper):
    """Twice what a layer returns."""

    def call(self, x):
        return 2.0 * self.layer(x)


@pytest.mark.parametrize("way", ["by hand", "part", "call"])
def test_a_users_rule_reaches_the_layers_within(way):
    """However it calls them."""

    class Mine(Doubled):
        pass

    @signal_rule(Mine)
    def mine(state, layer, call, args, kwargs):
        x = args[0]
        if way == "call":
            return call(x)
        y = layer.layer(x) if way == "by hand" else state.part(layer.layer, x)
        return state.give(y, state.signal(y).replace(second=np.array([[4.0]])))

    init = AutoInit(seed=0)
    model = single(Mine(layers.Dense(64)), 16)
    init.initialize_model(model)
    rows = [(r.layer, r.scale) for r in init.report.records]
    assert rows == [("Dense", 0.25), ("Mine", None)]
    assert init.report.records[-1].second == pytest.approx(4.0, rel=0.1)


def test_its_rule_may_call_the_layer_itself():
    class Same(Doubled):
        pass

    @signal_rule(Same)
    def same(state, layer, call, args, kwargs):
        return layer(args[0])

    report = propagate(single(Same(layers.Dense(64)), 16))
    assert [r.layer for r in report.records] == ["Dense", "Same"]
