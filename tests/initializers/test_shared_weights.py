"""A model whose weights another one needs is refused, and nothing changed."""

import keras
import pytest
from keras import layers

import tfdeep
from tests.helpers import images
from tests.initializers.unchanged import unchanged
from tfdeep.initializers import AutoInit, GradInit, propagate
from tfdeep.keras_internals import keeps

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
    message = f"kernel' came shared with the model '{other}'"
    with unchanged(model), pytest.raises(ValueError, match=message):
        method(model)


@pytest.mark.slow
@METHODS
def test_a_layer_that_two_models_call(method):
    model = net()
    inputs = keras.Input((4,))
    features = model.layers[0](inputs)
    other = keras.Model(inputs, layers.Dense(2)(features), name="other")
    refused(method, model, "other")
    refused(method, other, "net")
    method(keras.models.clone_model(model))
    del other, features, inputs
    method(model)


@pytest.mark.slow
@METHODS
def test_a_model_that_two_models_call(method):
    part, inputs = net("part"), keras.Input((4,))
    model = keras.Model(inputs, part(inputs))
    method(model)
    other = keras.Sequential(
        [keras.Input((4,)), part, layers.Dense(2)], name="other"
    )
    refused(method, model, "other")
    method(part)  # Both are around it.
    part.trainable = False
    method(other)  # Of what they share nothing changes.


@pytest.mark.slow
@METHODS
def test_a_model_that_goes_on_from_this_one(method):
    model = net()
    more = keras.Model(
        model.inputs, layers.Dense(2)(model.outputs[0]), name="more"
    )
    refused(method, model, "more")
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
    part = layers.Dense(2)
    assert not keeps(model, part)
    model.part = part
    assert keeps(model, part)


def test_a_prediction_changes_nothing():
    model = net()
    other = keras.Sequential([keras.Input((4,)), *model.layers[:1], net()])
    assert len(propagate(model)) == 2
    assert other.built
