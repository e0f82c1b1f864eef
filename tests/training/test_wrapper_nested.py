"""A wrapper around a wrapper: the order of their terms, and what both watch."""

import keras
import numpy as np
import pytest
from keras import ops

from tests.helpers import arrays, close
from tests.training.harness import (
    EAGER,
    NESTED,
    fit,
    logs_of,
    relayed,
    step,
    supervised,
)
from tfdeep import backend
from tfdeep.layers import batch_entropy
from tfdeep.training import (
    L2SVM,
    BatchEntropyRegularizer,
    DeepSupervision,
    Head,
    RelayBackpropagation,
)

each_order = pytest.mark.parametrize("outer", ["entropy", "supervision"])


def slow_loss(wrapper, outer, data, loss):
    """The loss from a plain forward pass: the outer wrapper's term is last."""
    (regularizer,) = (
        e for e in wrapper.chain() if isinstance(e, BatchEntropyRegularizer)
    )
    (heads,) = (e for e in wrapper.chain() if isinstance(e, DeepSupervision))
    tensors, (x, y) = [], data
    for layer in wrapper.plain().layers:
        x = layer(x)
        tensors.append(x)
    entropies = ops.stack([batch_entropy(x) for x in tensors[:-1]])
    target = ops.maximum(ops.abs(regularizer.alphas.value), 0.2)
    factor = 1 + 0.1 * ops.mean(ops.square(entropies - target))
    companion = 0.5 * L2SVM()(y, heads.head_layers[0](tensors[1]))
    task = loss(y, x)
    if outer == "entropy":
        return (task + companion) * factor
    return task * factor + companion


@each_order
def test_the_first_step_is_that_of_the_formula(net, data, crossentropy, outer):
    inner = "supervision" if outer == "entropy" else "entropy"
    wrapper = NESTED[f"{outer} of {inner}"](net(activation="tanh"))
    wrapper.compile(keras.optimizers.SGD(1.0), crossentropy, **EAGER)
    variables = wrapper.trainable_variables

    def value(tensors):
        mapping = list(zip(variables, tensors, strict=True))
        with keras.StatelessScope(mapping):
            return slow_loss(wrapper, outer, data, crossentropy)

    total, gradients = backend.value_and_gradients(
        value, [variable.value for variable in variables]
    )
    logs, moved = step(wrapper, data)
    assert logs["loss"] == pytest.approx(float(total), rel=1e-5)
    close(moved, arrays(gradients), 1e-4, 1e-5)
    assert set(logs) == {
        *("loss", "task_loss", "batch_entropy", "head_loss/hidden_1"),
        *(f"batch_entropy/hidden_{index}" for index in range(3)),
    }


def test_an_entropy_around_a_relay_is_one_around_supervision(
    net, data, crossentropy
):
    """Where all losses reach everything."""
    found = []
    for wrap, more in ((supervised, {}), (relayed, {"overlap": 9})):
        inner = wrap(net(), {"hidden_1": Head(alpha=0.5)}, **more)
        wrapper = BatchEntropyRegularizer(inner)
        wrapper.compile(keras.optimizers.SGD(0.1), crossentropy, **EAGER)
        logs, moved = step(wrapper, data)
        found.append([*moved, *logs.values()])
    close(*found, 0, 0)


def test_cuts_hold_within_another_wrapper(net, data, crossentropy):
    """With an entropy that counts nothing it is the relay alone."""
    found = []
    for around in (lambda relay: relay, _uncounted):
        relay = relayed(net(), {"hidden_1": Head(alpha=0.5)})
        wrapper = around(relay)
        wrapper.compile(keras.optimizers.SGD(0.1), crossentropy, **EAGER)
        step(wrapper, data)
        found.append(arrays(relay.trainable_variables))
    close(*found, 0, 0)


def _uncounted(model):
    return BatchEntropyRegularizer(model, beta=0.0)


@pytest.mark.parametrize("name", ["entropy of relay", "supervision of entropy"])
def test_validation_and_prediction_are_those_of_the_model(
    name, net, data, crossentropy
):
    wrapper = NESTED[name](net())
    settings = {"metrics": ["accuracy"], **EAGER}
    wrapper.compile("sgd", crossentropy, **settings)
    logs = logs_of(fit(wrapper, data, validation_data=data))
    model = wrapper.plain()
    model.compile("sgd", crossentropy, **settings)
    expected = model.evaluate(*data, verbose=0, return_dict=True)
    validated = {k[4:]: v for k, v in logs.items() if k.startswith("val_")}
    assert validated == pytest.approx(expected, rel=1e-5)
    np.testing.assert_array_equal(
        wrapper.predict(data[0], verbose=0), model.predict(data[0], verbose=0)
    )


def test_the_inner_wrapper_keeps_watch(net, data, crossentropy):
    """Over its batches, its labels, its schedule, and where a NaN began."""
    heads = {"hidden_1": Head(schedule="decay")}
    entropy = BatchEntropyRegularizer(net())
    wrapper = DeepSupervision(entropy, heads)
    wrapper.compile("sgd", crossentropy, **EAGER)
    with pytest.raises(ValueError, match="a batch of 1"):
        fit(wrapper, [array[:9] for array in data], batch_size=4)
    inner = DeepSupervision(net(), heads)
    wrapper = BatchEntropyRegularizer(inner)
    wrapper.compile("sgd", crossentropy, **EAGER)
    with pytest.raises(ValueError, match="must be numbers from 0 to 2"):
        fit(wrapper, (data[0], data[1] + 1))
    fit(wrapper, data, epochs=2)
    assert inner.current_alphas() == {"hidden_1": pytest.approx(0.05)}
    kernel = inner.head_layers[0].weights[0]
    kernel.assign(np.full(kernel.shape, np.nan))
    with pytest.raises(FloatingPointError, match="is 'the head of hidden_1'"):
        fit(wrapper, data)


def test_alphas_of_the_inner_wrapper_never_decay(net, data, crossentropy):
    entropy = BatchEntropyRegularizer(net(), beta=0.0)
    wrapper = DeepSupervision(entropy, {"hidden_1": Head()})
    adam = keras.optimizers.AdamW(0.1, weight_decay=0.5)
    wrapper.compile(adam, crossentropy, **EAGER)
    fit(wrapper, data)
    np.testing.assert_array_equal(entropy.alphas.numpy(), 2.0)


@pytest.mark.parametrize("inner", [DeepSupervision, RelayBackpropagation])
def test_heads_belong_into_one_relay(inner, net):
    """It knows which layers a loss reaches only of its own."""
    with pytest.raises(ValueError, match="all be given to one"):
        RelayBackpropagation(
            inner(net(), {"hidden_0": Head()}), {"hidden_1": Head()}
        )
    relay = RelayBackpropagation(net(), {"hidden_0": Head()})
    with pytest.raises(ValueError, match="all be given to one"):
        DeepSupervision(relay, {"hidden_1": Head()})


def test_terms_of_two_supervisions_add_up(net, data, crossentropy):
    inner = supervised(net(), {"hidden_0": Head(alpha=0.5)})
    wrapper = supervised(inner, {"hidden_1": Head(alpha=0.25)})
    wrapper.compile(keras.optimizers.SGD(0.0), crossentropy, **EAGER)
    logs = logs_of(fit(wrapper, data))
    low, high = (logs[f"head_loss/hidden_{index}"] for index in (0, 1))
    total = logs["task_loss"] + 0.5 * low + 0.25 * high
    assert logs["loss"] == pytest.approx(total, rel=1e-5)
