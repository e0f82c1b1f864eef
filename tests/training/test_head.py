"""A head: its settings, its decay, its layer, its penalties."""

import keras
import numpy as np
import pytest
from keras import layers

from tests.helpers import arrays, close
from tests.training.harness import EAGER, fit
from tfdeep.training import L2SVM, DeepSupervision, Head, paper_decay


def test_the_papers_decay():
    """0.1 (1 - t/N)."""
    factors = [0.1, 0.075, 0.05, 0.025]
    head = Head(alpha=2.0, schedule="decay")
    assert [head.factor(t, 4) for t in range(4)] == pytest.approx(factors)
    assert [paper_decay(t, 4) for t in range(4)] == pytest.approx(factors)
    assert Head().factor(3, 4) == 1.0
    own = Head(schedule=lambda epoch, epochs: epoch + 10 * epochs)
    assert own.factor(3, 4) == 43.0


def test_defaults_are_those_of_the_docstring():
    head = Head()
    assert (head.alpha, head.gamma, head.target) == (1.0, None, None)
    assert head.layer is None and isinstance(head.loss, L2SVM)


@pytest.mark.parametrize(
    "settings, error, message",
    [
        *(
            ({name: value}, ValueError, f"number from 0.*Received: {name}=")
            for name in ("alpha", "gamma")
            for value in (-1.0, "1", float("nan"), float("inf"), True)
        ),
        ({"layer": "dense"}, TypeError, "Received: layer="),
        ({"schedule": "cosine"}, TypeError, "Received: schedule="),
        ({"loss": "categorical_crossentropy"}, ValueError, "must take scores"),
        (
            {"loss": keras.losses.SparseCategoricalCrossentropy()},
            ValueError,
            "must take scores",
        ),
    ],
)
def test_settings_that_cannot_be(settings, error, message):
    with pytest.raises(error, match=message):
        Head(**settings)


def test_a_layer_of_its_own_may_give_probabilities():
    softmax = layers.Dense(3, "softmax")
    head = Head(softmax, "sparse_categorical_crossentropy")
    value = head.mean_loss(np.array([1, 0]), np.eye(2, 3) / 4 + 0.25)
    assert float(value) == pytest.approx(-np.log(0.25), rel=1e-5)


@pytest.mark.parametrize(
    "shape, pooled",
    [
        ((5,), ()),
        ((6, 5), (1,)),
        ((6, 4, 5), (1, 2)),
        ((3, 2, 4, 5), (1, 2, 3)),
    ],
)
def test_the_default_layer_pools_what_has_places(shape, pooled):
    """And ends in a `Dense` of float32 without activation."""
    layer = Head().make("here", (None, *shape), (None, 3))
    kernel, bias = layer.weights
    assert (tuple(kernel.shape), tuple(bias.shape)) == ((5, 3), (3,))
    bias.assign([1.0, 2.0, 3.0])
    x = np.random.default_rng(0).normal(size=(2, *shape)).astype("float32")
    expected = x.mean(axis=pooled) if pooled else x
    expected = expected @ kernel.numpy() + [1.0, 2.0, 3.0]
    np.testing.assert_allclose(layer(x), expected, 1e-5, 1e-5)
    keras.config.set_dtype_policy("mixed_float16")
    half = Head().make("here", (None, *shape), (None, 3))
    assert half.layers[-1].compute_dtype == "float32"


def test_a_default_layer_for_what_is_no_row():
    inputs = keras.Input((4, 4, 2))
    x = layers.Conv2D(2, 1, name="conv")(inputs)
    model = keras.Model(inputs, layers.Conv2D(3, 1)(x))
    with pytest.raises(ValueError, match="Give the head a `layer`"):
        DeepSupervision(model, {"conv": Head()})


def test_any_layer_is_a_head_and_is_copied(net, data, crossentropy):
    def mlp():
        return keras.Sequential(
            [layers.Dense(5, "relu"), layers.Dropout(0.5), layers.Dense(3)]
        )

    head = Head(mlp())
    heads = {"hidden_0": head, "hidden_1": head}
    wrapper = DeepSupervision(net(), heads)
    wrapper.compile("adam", crossentropy, **EAGER)
    before = arrays(wrapper.head_layers[0].trainable_weights)
    fit(wrapper, data)
    after = arrays(wrapper.head_layers[0].trainable_weights)
    assert len(after) == 4
    for old, new in zip(before, after, strict=True):
        assert np.any(old != new)
    first, second = (each.weights[0] for each in wrapper.head_layers)
    assert not np.array_equal(*arrays([first, second]))
    assert not head.layer.built


def test_a_trained_layer_keeps_its_weights(net):
    trained = keras.Sequential([keras.Input((6,)), layers.Dense(3)])
    copy = DeepSupervision(net(), {"hidden_0": Head(trained)}).head_layers[0]
    close(copy.get_weights(), trained.get_weights(), 0, 0)
    assert copy.weights[0] is not trained.weights[0]


def test_layers_of_a_head_train(net, data, crossentropy):
    """Batch statistics move, and dropout is drawn, as in a model."""
    norm = layers.BatchNormalization(name="norm")
    head = Head(keras.Sequential([norm, layers.Dropout(0.5, seed=1)]))
    wrapper = DeepSupervision(net(width=3), {"hidden_0": head})
    wrapper.compile("sgd", crossentropy, **EAGER)
    state = wrapper.head_layers[0].non_trainable_variables
    before = arrays(state)
    fit(wrapper, data)
    for old, new in zip(before, arrays(state), strict=True):
        assert np.any(old != new)
