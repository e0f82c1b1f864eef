"""The regularizer: its loss, its gradients, its neutral setting, its claim."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from tests.helpers import arrays
from tests.training.harness import EAGER, GRAPH, fit, in_modes, logs_of, step
from tfdeep import backend
from tfdeep.layers import batch_entropy
from tfdeep.training import BatchEntropyRegularizer
from tfdeep.training.entropy_metric import EntropyMeans
from tfdeep.training.entropy_regularizer import entropy_target


def slow_loss(model, names, alphas, alpha_min, beta, loss, data):
    """The formula, layer by layer, from a plain forward pass."""
    x, y = data
    taps, value = [], x
    for layer in model.layers:
        value = layer(value)
        if layer.name in names:
            taps.append(float(batch_entropy(value)))
    task = float(loss(y, value))
    gaps = [
        h - max(abs(float(a)), alpha_min)
        for h, a in zip(taps, alphas, strict=True)
    ]
    return task * (1 + beta * np.mean(np.square(gaps))), task, taps


def numerical(function, weight, position, size=1e-2):
    """A central difference of `function()` by one entry of a weight."""
    (old,), values = arrays([weight]), []
    for sign in (1, -1):
        new = old.copy()
        new[position] += sign * size
        weight.assign(new)
        values.append(function())
    weight.assign(old)
    return (values[0] - values[1]) / (2 * size)


@in_modes("eager", "graph", "xla")
def test_the_first_step_is_that_of_the_formula(net, data, crossentropy, mode):
    """One SGD step at rate 1 is minus the gradient, by differences."""
    model = net(activation="tanh")
    wrapper = BatchEntropyRegularizer(model, alpha=1.5, alpha_min=0.3, beta=2.0)
    np.testing.assert_array_equal(wrapper.alphas.numpy(), 1.5)
    wrapper.alphas.assign([0.9, 0.1, -2.0])
    wrapper.compile(keras.optimizers.SGD(1.0), crossentropy, **mode)

    def slow():
        settings = wrapper.alphas.numpy(), 0.3, 2.0, crossentropy
        return slow_loss(model, wrapper.names, *settings, data)

    total, task, taps = slow()
    wanted = []
    for weight in wrapper.trainable_variables:
        position = tuple(size // 2 for size in weight.shape)
        gradient = numerical(lambda: slow()[0], weight, position)
        wanted.append((position, gradient))
    logs, moved = step(wrapper, data)
    expected = {
        "loss": total,
        "task_loss": task,
        "batch_entropy": np.mean(taps),
        **{
            f"batch_entropy/{name}": entropy
            for name, entropy in zip(wrapper.names, taps, strict=True)
        },
    }
    assert logs == pytest.approx(expected, rel=1e-5)
    for change, (position, gradient) in zip(moved, wanted, strict=True):
        assert change[position] == pytest.approx(gradient, rel=0.02, abs=2e-4)


@pytest.mark.parametrize(
    "alpha, target, slope",
    [(2.0, 2.0, 1.0), (-2.0, 2.0, -1.0), (0.1, 0.2, 0.0), (0.2, 0.2, 0.5)],
)
def test_the_target_and_its_slope(alpha, target, slope):
    value, (gradient,) = backend.value_and_gradients(
        lambda tensors: ops.sum(entropy_target(tensors[0], 0.2)),
        [ops.convert_to_tensor(np.float32(alpha))],
    )
    assert float(value) == pytest.approx(target)
    assert float(gradient) == pytest.approx(slope)


def test_the_defaults_are_those_of_the_docstring(net):
    config = BatchEntropyRegularizer(net()).get_config()
    defaults = {"layers": "hidden", "alpha": 2.0, "alpha_min": 0.2, "beta": 0.1}
    assert {name: config[name] for name in defaults} == defaults


def test_penalties_stay_outside_the_product(data, crossentropy):
    dense = layers.Dense(
        4, "relu", kernel_regularizer="l2", activity_regularizer="l1"
    )
    model = keras.Sequential([keras.Input((8,)), dense, layers.Dense(3)])
    model.compile(keras.optimizers.SGD(0.0), crossentropy, **EAGER)
    with_penalties = model.evaluate(*data, verbose=0)
    wrapper = BatchEntropyRegularizer(model, beta=0.5)
    wrapper.compile(keras.optimizers.SGD(0.0), crossentropy, **EAGER)
    logs = logs_of(fit(wrapper, data))
    task = float(crossentropy(data[1], model(data[0])))
    factor = 1 + 0.5 * (logs["batch_entropy"] - 2.0) ** 2
    assert logs["task_loss"] == pytest.approx(task, rel=1e-5)
    expected = with_penalties + task * (factor - 1)
    assert logs["loss"] == pytest.approx(expected, rel=1e-5)


def test_entropies_are_means_over_the_batches_of_an_epoch(
    net, data, crossentropy
):
    wrapper = BatchEntropyRegularizer(net())
    wrapper.compile(keras.optimizers.SGD(0.0), crossentropy, **EAGER)
    halves = [
        logs_of(fit(wrapper, [array[part] for array in data]))
        for part in (slice(16), slice(16, 32))
    ]
    # Validation, which resets the metrics, changes nothing.
    history = fit(wrapper, data, 2, batch_size=16, validation_data=data)
    for key in ("batch_entropy", "batch_entropy/hidden_1"):
        mean = sum(half[key] for half in halves) / 2
        assert history[key] == pytest.approx([mean, mean], rel=1e-5)


@pytest.mark.parametrize("report", ["mean", "layers"])
def test_the_progress_bar_shows_the_mean(
    net, data, crossentropy, capsys, report
):
    wrapper = BatchEntropyRegularizer(net(), report=report)
    wrapper.compile("sgd", crossentropy, **EAGER)
    history = wrapper.fit(*data, validation_data=data).history
    printed = capsys.readouterr().out
    names = [f"batch_entropy/{name}" for name in wrapper.names]
    assert set(names) <= history.keys() and len(names) > 1
    for name in names:
        assert (name in printed) == (report == "layers")
    for name in ("batch_entropy:", "val_loss:"):
        assert printed.splitlines()[-1].count(name) == 1
    assert wrapper.get_config()["report"] == report


def test_a_batch_counts_by_its_weight():
    means = EntropyMeans(["low", "high"])
    means.update_state(np.array([1.0, 0.0]))
    means.update_state(np.array([3.0, 4.0]), sample_weight=3.0)
    assert means.by_layer() == {"low": 2.5, "high": 3.0}
    assert float(means.result()) == 2.75


def test_layers_are_chosen_by_name_and_survive_the_configuration(net):
    wrapper = BatchEntropyRegularizer(net(), ["hidden_2", "out"], 1.5, 0.1, 0.7)
    assert wrapper.names == ["hidden_2", "out"]
    twin = BatchEntropyRegularizer.from_config(wrapper.get_config())
    assert twin.names == wrapper.names
    assert (twin.alpha, twin.alpha_min, twin.beta) == (1.5, 0.1, 0.7)
    of_rule = BatchEntropyRegularizer(net(), lambda layer: layer.name == "out")
    twin = BatchEntropyRegularizer.from_config(of_rule.get_config())
    assert twin.names == of_rule.names == ["out"]


def test_outputs_keep_their_names(data, crossentropy):
    """A dictionary of losses and targets for a list of outputs."""
    x, y = data
    inputs = keras.Input((8,))
    hidden = layers.Dense(6, "relu", name="hidden")(inputs)
    outputs = [
        layers.Dense(units, name=name)(hidden)
        for units, name in [(1, "size"), (3, "kind")]
    ]
    wrapper = BatchEntropyRegularizer(keras.Model(inputs, outputs))
    losses = {"size": "mse", "kind": crossentropy}
    wrapper.compile(keras.optimizers.SGD(0.0), losses, **EAGER)
    logs = logs_of(fit(wrapper, (x, {"size": x[:, :1], "kind": y})))
    parts = logs["size_loss"] + logs["kind_loss"]
    assert logs["task_loss"] == pytest.approx(parts, rel=1e-5)


@pytest.mark.parametrize(
    "name, wanted, values, example",
    [
        ("alpha", "a finite number", ["2", None], "2"),
        ("alpha_min", "a finite number from 0", [-0.1, "1"], "0.2"),
        ("beta", "a finite number from 0", [-1.0, None, True], "0.1"),
    ],
)
def test_numbers_outside_their_range(net, name, wanted, values, example):
    for value in [*values, float("nan"), float("inf")]:
        with pytest.raises(ValueError) as error:
            BatchEntropyRegularizer(net(), **{name: value})
        assert str(error.value) == (
            f"`{name}` must be {wanted}. Received: {name}={value!r}. Pass "
            f"for example {example}."
        )


def test_an_unknown_layer_is_refused_at_once(net):
    with pytest.raises(ValueError, match="Did you mean 'hidden_1'"):
        BatchEntropyRegularizer(net(), ["hiden_1"])


@pytest.mark.slow
def test_it_keeps_the_signal_of_a_deep_net_alive(data, crossentropy):
    """The claim in small: from a start that lets it die."""

    def train(wrap):
        keras.utils.set_random_seed(1)
        small = keras.initializers.VarianceScaling(
            1 / 3, distribution="uniform"
        )
        hidden = keras.Sequential(
            [
                layers.Dense(16, "relu", kernel_initializer=small)
                for _ in range(16)
            ]
        )
        model = keras.Sequential([keras.Input((8,)), hidden, layers.Dense(3)])
        wrapper = wrap(model)
        wrapper.compile(keras.optimizers.Adam(0.01), crossentropy, **GRAPH)
        fit(wrapper, [np.concatenate([array] * 60) for array in data])
        return float(batch_entropy(hidden(data[0])))

    assert train(lambda model: model) < 1e-3
    assert train(BatchEntropyRegularizer) > 0.5


class Objective(layers.Layer):
    """Adds the whole objective of a model."""

    def call(self, inputs):
        self.add_loss(ops.mean(ops.square(inputs - 1)))
        return inputs


@in_modes("eager", "graph", "xla")
def test_an_objective_that_a_layer_adds(net, data, mode):
    """Without a compiled loss it is the task, and has the factor."""
    model = net(activation="tanh")
    model.add(Objective())
    wrapper = BatchEntropyRegularizer(model, beta=2.0)
    wrapper.compile(keras.optimizers.SGD(1.0), **mode)

    def loss(y, value):
        return np.mean((arrays([value])[0] - 1) ** 2)

    settings = wrapper.alphas.numpy(), 0.2, 2.0, loss

    def slow():
        return slow_loss(model, wrapper.names, *settings, data)

    total, task, _ = slow()
    kernel = model.layers[1].kernel
    slope = numerical(lambda: slow()[0], kernel, (1, 2))
    logs, sunk = step(wrapper, data)
    assert logs["loss"] == pytest.approx(total, rel=1e-5)
    assert logs["task_loss"] == pytest.approx(task, rel=1e-5)
    assert total > 1.1 * task
    (moved,) = [
        change
        for change, weight in zip(
            sunk, wrapper.trainable_variables, strict=True
        )
        if weight is kernel
    ]
    assert moved[1, 2] == pytest.approx(slope, rel=1e-2, abs=1e-4)
