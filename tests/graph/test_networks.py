"""The networks in which a layer is called."""

import keras
from keras import layers

from tfdeep.graph.networks import networks_with
from tfdeep.keras_internals import calls_of, node_of


def names(nodes):
    return sorted(node.operation.name for node in nodes)


def dense(name):
    return layers.Dense(2, name=name)


def test_each_call_has_networks_of_its_own():
    shared = dense("shared")
    x, y = keras.Input((2,), name="x"), keras.Input((2,), name="y")
    over_x = dense("over_x")(shared(x))
    over_y = dense("over_y")(shared(y))
    first, second = calls_of(shared)
    assert names(networks_with([first])) == ["over_x", "shared", "x"]
    assert names(networks_with([second])) == ["over_y", "shared", "y"]
    assert node_of(over_x) in networks_with(calls_of(shared))
    assert node_of(over_y) in networks_with(calls_of(shared))
    assert networks_with([]) == []


def test_what_an_output_needs_besides():
    x = keras.Input((2,), name="x")
    start = dense("start")
    left, right = dense("left"), dense("right")
    hidden = start(x)
    joined = layers.Add(name="join")([left(hidden), right(hidden)])
    apart = dense("apart")(hidden)
    assert names(networks_with(calls_of(left))) == [
        "join",
        "left",
        "right",
        "start",
        "x",
    ]
    assert node_of(apart) in networks_with(calls_of(start))
    assert node_of(joined) in networks_with(calls_of(start))


def test_a_nested_model_is_one_call():
    part = keras.Sequential([keras.Input((2,)), dense("inner")], name="part")
    x = keras.Input((2,), name="x")
    dense("after")(part(x))
    assert names(networks_with(calls_of(part))) == ["after", "part", "x"]
