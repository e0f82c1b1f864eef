"""Rules are found along the class hierarchy, and by name."""

import keras
import pytest
from keras import layers, ops

from tfdeep.graph.registry import Registry


@keras.saving.register_keras_serializable(package="registry_tests")
class Known(layers.Layer):
    def call(self, x):
        return x


class Unregistered(layers.Layer):
    def call(self, x):
        return x


class Renamed(layers.Dense):
    def get_config(self):
        return super().get_config()


class Other(layers.Dense):
    def call(self, x):
        return 2 * super().call(x)


def registry(**rules):
    found = Registry("some_rule")
    for rule, kinds in rules.items():
        found.rule(*kinds)(rule)
    return found


def operation(function, *shapes):
    return function(*map(keras.Input, shapes))._keras_history.operation


def test_a_rule_holds_for_the_class_and_what_computes_alike():
    rules = registry(dense=[layers.Dense])
    assert rules.find(layers.Dense(2)) == "dense"
    assert rules.find(Renamed(2)) == "dense"
    assert rules.find(Other(2)) is None
    assert rules.find(layers.Conv1D(2, 3)) is None


def test_the_nearest_class_counts():
    rules = registry(layer=[layers.Layer], dense=[layers.Dense])
    assert rules.find(layers.Dense(2)) == "dense"
    rules.rule(Other)("other")
    assert rules.find(Other(2)) == "other"


def test_a_call_put_on_one_layer_has_no_rule():
    layer = layers.Dense(2)
    object.__setattr__(layer, "call", lambda x: x)
    assert registry(dense=[layers.Dense]).find(layer) is None


def test_classes_are_found_by_name():
    rules = registry(
        known=["registry_tests>Known"],
        scale=["keras.LayerScale"],
        here=["tests.Unregistered"],
    )
    assert rules.find(Known()) == "known"
    assert rules.find(Unregistered()) == "here"
    net = keras.applications.ConvNeXtTiny(
        weights=None, include_top=False, input_shape=(32, 32, 3)
    )
    kinds = {type(each).__name__: each for each in net.layers}
    assert rules.find(kinds["LayerScale"]) == "scale"


def test_a_bare_name_is_no_class():
    assert registry(here=["Unregistered"]).find(Unregistered()) is None


@pytest.mark.parametrize("name", ["max_pool", "MaxPool"])
def test_operations_are_found_by_the_name_of_their_function(name):
    rules = registry(pool=[name], relu=["relu"])
    pooled = operation(lambda x: ops.max_pool(x, 2), (4, 4, 1))
    assert rules.find(pooled) == "pool"
    assert rules.find(operation(ops.relu, (3,))) == "relu"
    assert rules.find(operation(ops.tanh, (3,))) is None


def test_a_method_of_the_layer_in_place_of_a_rule():
    class Says(layers.Dense):
        def call(self, x):
            return super().call(x)

        def says(self):
            return 1

    class Changed(Says):
        def call(self, x):
            return -super().call(x)

    rules = Registry("some_rule", protocol="says")
    rules.rule(layers.Dense)("dense")
    assert rules.find(Says(2)) == "says"
    assert rules.find(Changed(2)) is None
    assert rules.find(layers.Dense(2)) == "dense"


@pytest.mark.parametrize(
    "kind", [layers.Dense(2), int, "", None, [layers.ReLU]]
)
def test_other_kinds_are_refused_before_anything_is_registered(kind):
    rules = Registry("some_rule")
    with pytest.raises(TypeError, match="`some_rule` takes classes of layers"):
        rules.rule(layers.Dense, kind)
    assert not rules.rules
