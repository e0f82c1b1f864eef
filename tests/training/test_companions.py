"""Where heads go, and which targets they learn."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from tests.helpers import arrays
from tests.training.harness import EAGER, fit, logs_of, step
from tfdeep.training import L2SVM, DeepSupervision, Head, RelayBackpropagation


def two_outputs(kind=dict):
    """A size and a class, in a dictionary or a list."""
    inputs = keras.Input((8,))
    x = layers.Dense(6, "relu", name="hidden_0")(inputs)
    x = layers.Dense(6, "relu", name="hidden_1")(x)
    outputs = {
        "size": layers.Dense(1, name="size")(x),
        "kind": layers.Dense(3, name="kind")(x),
    }
    return keras.Model(
        inputs, outputs if kind is dict else list(outputs.values())
    )


def hidden(wrapper, x):
    """The output of the lowest hidden layer."""
    return ops.relu(wrapper.base.get_layer("hidden_0")(x))


def test_images_are_pooled_and_paths_lead_into_models(data, crossentropy):
    block = keras.Sequential(
        [keras.Input((4, 4, 2)), layers.Conv2D(5, 3, name="conv")], name="block"
    )
    inputs = keras.Input((4, 4, 2))
    x = layers.Flatten()(layers.ReLU()(block(inputs)))
    model = keras.Model(inputs, layers.Dense(3)(x))
    wrapper = DeepSupervision(model, {"conv": Head()})
    wrapper.compile(keras.optimizers.SGD(0.1), crossentropy, **EAGER)
    images = np.random.default_rng(0).normal(size=(8, 4, 4, 2))
    _, moved = step(wrapper, (images, data[1][:8]))
    assert wrapper.names == ["block/conv"]
    assert [w.shape for w in wrapper.head_layers[0].weights] == [(5, 3), (3,)]
    assert all(np.any(change) for change in moved)


def test_heads_come_in_the_order_of_the_model(net):
    heads = {name: Head() for name in ("hidden_2", "hidden_0", "hidden_1")}
    wrapper = DeepSupervision(net(), heads)
    assert wrapper.names == ["hidden_0", "hidden_1", "hidden_2"]


@pytest.mark.parametrize("kind", [DeepSupervision, RelayBackpropagation])
def test_losses_that_a_head_adds_count(net, data, crossentropy, kind):
    """They are penalties of the head: within the bracket."""

    @keras.saving.register_keras_serializable(package="tests")
    class Adding(layers.Layer):
        def call(self, x):
            self.add_loss(0.5 * ops.mean(x))
            return x

    losses = []
    for parts in ([], [Adding()]):
        keras.utils.set_random_seed(1)
        layer = keras.Sequential([*parts, layers.Dense(3)])
        wrapper = kind(net(), {"hidden_1": Head(layer, alpha=0.7)})
        wrapper.compile(keras.optimizers.SGD(0.0), crossentropy, **EAGER)
        fit(wrapper, data)
        losses.append(logs_of(fit(wrapper, data))["loss"])
    base = wrapper.base.layers
    low = arrays([base[1](base[0](data[0]))])[0]
    added = 0.7 * 0.5 * float(low.mean())
    assert losses[1] - losses[0] == pytest.approx(added, rel=1e-4)


def test_a_head_learns_its_target(data, crossentropy):
    x, y = data
    targets = {"size": x[:, :1] * 9, "kind": y}
    heads = {
        "hidden_0": Head(loss="mse", target="size", alpha=0.5),
        "hidden_1": Head(target="kind"),
    }
    wrapper = DeepSupervision(two_outputs(), heads)
    losses = {"size": "mse", "kind": crossentropy}
    wrapper.compile(keras.optimizers.SGD(0.0), losses, **EAGER)
    logs = logs_of(fit(wrapper, (x, targets)))
    size = arrays([wrapper.head_layers[0](hidden(wrapper, x))])[0]
    expected = float(np.mean(np.square(size - targets["size"])))
    measured = logs["head_loss/hidden_0"]
    assert measured == pytest.approx(expected, rel=1e-4)
    total = logs["task_loss"] + 0.5 * expected + logs["head_loss/hidden_1"]
    assert logs["loss"] == pytest.approx(total, rel=1e-4)


@pytest.mark.parametrize("target", ["kind", 1])
@pytest.mark.parametrize("named", [True, False])
def test_targets_of_a_list_of_outputs(data, crossentropy, target, named):
    """By index or name, in a list or dictionary, as Keras takes them."""
    x, y = data
    model = two_outputs(list)
    wrapper = DeepSupervision(model, {"hidden_0": Head(target=target)})
    targets, losses = [x[:, :1], y], ["mse", crossentropy]
    if named:
        targets, losses = (
            dict(zip(["size", "kind"], each, strict=True))
            for each in (targets, losses)
        )
    wrapper.compile(keras.optimizers.SGD(0.0), losses, **EAGER)
    logs = logs_of(fit(wrapper, (x, targets)))
    scores = wrapper.head_layers[0](hidden(wrapper, x))
    expected = float(L2SVM()(y, scores))
    assert logs["head_loss/hidden_0"] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("kind", [DeepSupervision, RelayBackpropagation])
def test_weights_of_samples_weigh_the_losses_of_heads(
    net, data, crossentropy, kind
):
    wrapper = kind(net(), {"hidden_0": Head()})
    wrapper.compile(keras.optimizers.SGD(0.0), crossentropy, **EAGER)
    weights = np.linspace(0, 2, 32).astype("float32")
    logs = logs_of(fit(wrapper, data, sample_weight=weights))
    scores = wrapper.head_layers[0](wrapper.base.layers[0](data[0]))
    expected = float(L2SVM()(data[1], scores, weights))
    assert logs["head_loss/hidden_0"] == pytest.approx(expected, rel=1e-5)
    task = float(crossentropy(data[1], wrapper.base(data[0]), weights))
    assert logs["task_loss"] == pytest.approx(task, rel=1e-5)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda y: y, "several outputs must be.*Received: one ndarray"),
        (lambda y: [y, y], r"those of 'kind' among them.*list of \[0, 1\]"),
        (lambda y: {"size": y}, r"dict of \['size'\]"),
    ],
)
def test_targets_without_those_of_a_head(data, make, message):
    x, y = data
    heads = {"hidden_0": Head(target="kind")}
    wrapper = DeepSupervision(two_outputs(), heads)
    wrapper.compile("sgd", {"size": "mse", "kind": "mse"})
    with pytest.raises(ValueError, match=message):
        fit(wrapper, (x, make(y)))


@pytest.mark.parametrize("target", [None, "knd", 0])
def test_one_y_for_several_outputs(target):
    heads = {"hidden_0": Head(target=target)}
    with pytest.raises(ValueError, match=r"'size', 'kind'.*several outputs"):
        DeepSupervision(two_outputs(), heads)


@pytest.mark.parametrize("name", ["out", "last/inner"])
def test_a_head_on_the_output(name):
    inputs = keras.Input((4,))
    out = layers.Dense(3, name="out")
    if name != "out":
        inner = layers.Dense(3, name="inner")
        out = keras.Sequential([keras.Input((4,)), inner], name="last")
    model = keras.Model(inputs, out(layers.Dense(4, name="low")(inputs)))
    with pytest.raises(ValueError, match="which makes the model's output"):
        DeepSupervision(model, {name: Head()})


@pytest.mark.parametrize(
    "heads, error, message",
    [
        ({"hiden_1": Head()}, ValueError, "Did you mean 'hidden_1'"),
        ({"hidden_1": layers.Dense(3)}, TypeError, r"Head\(layer\)"),
        ({}, TypeError, "Received: heads="),
        (["hidden_1"], TypeError, "Received: heads="),
        (
            {"hidden_1": Head(), "hidden_1#1": Head()},
            ValueError,
            "must have one head",
        ),
    ],
)
def test_heads_that_cannot_be(net, heads, error, message):
    with pytest.raises(error, match=message):
        DeepSupervision(net(), heads)


def test_labels_outside_the_classes_before_the_first_step(
    net, data, crossentropy
):
    wrapper = DeepSupervision(net(), {"hidden_1": Head()})
    wrapper.compile("sgd", crossentropy)
    with pytest.raises(ValueError, match="must be numbers from 0 to 2"):
        fit(wrapper, (data[0], data[1] + 1))
    assert int(wrapper.optimizer.iterations.numpy()) == 0


def test_a_nan_of_a_head_names_the_head(net, data, crossentropy):
    wrapper = DeepSupervision(net(), {"hidden_0": Head(), "hidden_1": Head()})
    kernel = wrapper.head_layers[1].layers[-1].kernel
    kernel.assign(np.full(kernel.shape, np.nan))
    wrapper.compile("sgd", crossentropy, **EAGER)
    with pytest.raises(FloatingPointError, match="'the head of hidden_1'"):
        fit(wrapper, data, batch_size=8)
