"""A model whose weights another one needs is refused, and nothing changed."""

import gc

import keras
import pytest
from keras import layers

import tfdeep
from tests.helpers import images
from tests.initializers.unchanged import unchanged
from tfdeep.initializers import AutoInit, GradInit, propagate
from tfdeep.initializers.shared_weights import check_not_shared
from tfdeep.keras_internals import kept_layers

pytestmark = pytest.mark.usefixtures("eager")


def auto(model):
    AutoInit(seed=0).initialize_model(model)


def rescale(model):
    AutoInit(seed=0).initialize_model(model, "rescale")


def grad(model):
    data = images(8, 4), images(8, *model.output_shape[1:])
    init = GradInit(iterations=1, verbose=0)
    init.initialize_model(model, [data], "mse")


METHODS = pytest.mark.parametrize("method", [auto, rescale, grad])


def net(name="net"):
    return keras.Sequential(
        [keras.Input((4,)), layers.Dense(4), layers.Dense(3)], name=name
    )


def refused(method, model, other):
    message = f"is also called in a network with the layer '{other}'"
    with unchanged(model), pytest.raises(ValueError, match=message):
        method(model)


@pytest.mark.slow
@METHODS
def test_a_layer_that_two_models_call(method):
    model = net()
    inputs = keras.Input((4,))
    features = model.layers[0](inputs)
    other = keras.Model(inputs, layers.Dense(2, name="head")(features))
    refused(method, model, "head")
    refused(method, other, model.layers[1].name)
    method(keras.models.clone_model(model))


@pytest.mark.slow
@METHODS
def test_a_model_that_two_models_call(method):
    part, inputs = net("part"), keras.Input((4,))
    model = keras.Model(inputs, part(inputs))
    method(model)
    head = layers.Dense(2, name="head")
    other = keras.Sequential([keras.Input((4,)), part, head])
    refused(method, model, "head")
    method(part)  # Both are around it.
    part.trainable = False
    method(other)  # Of what they share nothing changes.


@pytest.mark.slow
@METHODS
def test_a_model_that_goes_on_from_this_one(method):
    model = net()
    head = layers.Dense(2, name="head")
    more = keras.Model(model.inputs, head(model.outputs[0]))
    refused(method, model, "head")
    method(more)


@METHODS
def test_what_is_no_other_model(method):
    model, inputs = net(), keras.Input((4,))
    probe = keras.Model(model.inputs, model.layers[0].output)
    outputs = layers.Dense(2)(model(layers.Dense(4)(model.layers[0](inputs))))
    around = keras.Model(inputs, outputs)
    method(model)
    method(around)
    assert probe.built


@METHODS
@pytest.mark.parametrize("kind", ["DeepSupervision", "RelayBackpropagation"])
def test_a_wrapper_with_heads(method, kind):
    base = net()
    heads = {base.layers[0].name: tfdeep.training.Head()}
    wrapper = getattr(tfdeep.training, kind)(base, heads)
    wrapper.compile("sgd", "mse")
    wrapper.train_on_batch(images(8, 4), images(8, 3))
    method(base)
    assert wrapper.base is base


@METHODS
def test_graphs_that_a_sequential_model_had_before(method):
    model = net()
    model.pop()
    model.add(layers.Dense(2))
    method(model)


def test_keras_keeps_these_graphs():
    model = net()
    gone = model.layers[1]
    model.pop()
    assert gone not in model.layers
    assert any(part is gone for part in kept_layers(model))
    assert not any(part is gone for part in kept_layers(net()))


@METHODS
def test_a_side_branch_and_an_input_that_is_shared(method):
    inputs = keras.Input((4,))
    shared = layers.Dense(3)
    model = keras.Model(inputs, shared(inputs))
    apart = keras.Model(inputs, layers.Dense(3)(inputs))
    method(model)  # They have an input in common, and no weights.
    side = layers.Dense(3, name="side")(inputs)
    both = keras.Model(inputs, layers.add([shared(inputs), side]))
    refused(method, model, "side")
    method(apart)
    method(both)


def test_what_is_looked_at_does_not_grow_with_the_process(monkeypatch):
    def none(*_):
        raise AssertionError("all objects of the process are looked at")

    for name in ("collect", "get_objects", "get_referrers"):
        monkeypatch.setattr(gc, name, none)
    model = net()
    check_not_shared(model)
    head = layers.Dense(2)(model.layers[0].output)
    with pytest.raises(ValueError, match="also called"):
        check_not_shared(model)
    assert head.shape == (None, 2)


def test_many_nets_in_a_row():
    shared = layers.Dense(4)
    nets = [net() for _ in range(50)]
    for model in nets:
        check_not_shared(model)
    bad = keras.Sequential([keras.Input((4,)), shared, layers.Dense(2)])
    check_not_shared(bad)
    bads = [
        keras.Sequential([keras.Input((4,)), shared, layers.Dense(2)])
        for _ in range(2)
    ]
    for model in [bad, *bads]:
        with pytest.raises(ValueError, match="share no weights"):
            check_not_shared(model)
    for model in nets:
        check_not_shared(model)


def test_a_prediction_changes_nothing():
    model = net()
    other = keras.Sequential([keras.Input((4,)), *model.layers[:1], net()])
    assert len(propagate(model)) == 2
    assert other.built
