"""Deep supervision: its loss, its gradients, its weights, its second stage."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from tests.helpers import arrays, close
from tests.training.harness import EAGER, GRAPH, fit, in_modes, logs_of, step
from tfdeep import backend
from tfdeep.training import (
    BatchEntropyRegularizer,
    DeepSupervision,
    Head,
    paper_decay,
)

HEADS = {
    "hidden_0": {"alpha": 0.7, "gamma": 1.5},
    "hidden_2": {"alpha": 0.4},
}


def dense():
    return layers.Dense(3, kernel_regularizer=keras.regularizers.L2(0.01))


def supervised(net, heads=None, **model):
    """Two heads with a decaying kernel, the upper without a threshold."""
    heads = HEADS if heads is None else heads
    made = {name: Head(dense(), **settings) for name, settings in heads.items()}
    return DeepSupervision(net(**model), made)


def slow_terms(tensors, x, y):
    """Losses of the output and of both heads, from weights alone.

    The tensors are kernels and biases of three hidden layers, of the output
    and of two heads.
    """
    pairs = list(zip(tensors[::2], tensors[1::2], strict=True))
    hidden, value = [], ops.convert_to_tensor(x)
    for kernel, bias in pairs[:3]:
        value = ops.maximum(ops.matmul(value, kernel) + bias, 0.0)
        hidden.append(value)
    logits = ops.matmul(value, pairs[3][0]) + pairs[3][1]
    hot = ops.convert_to_tensor(np.eye(3, dtype="float32")[y])
    task = -ops.mean(ops.sum(hot * ops.log_softmax(logits), axis=-1))
    terms = []
    for (kernel, bias), place in zip(pairs[4:], (0, 2), strict=True):
        scores = ops.matmul(hidden[place], kernel) + bias
        gap = ops.maximum(1.0 - (2.0 * hot - 1.0) * scores, 0.0)
        loss = ops.mean(ops.sum(ops.square(gap), axis=-1))
        terms.append((loss, 0.01 * ops.sum(ops.square(kernel))))
    return task, terms


def slow_loss(tensors, x, y):
    task, ((first, w1), (second, w2)) = slow_terms(tensors, x, y)
    bracket = ops.maximum(w1 + first - 1.5, 0.0)
    return task + 0.7 * bracket + 0.4 * (w2 + second)


@in_modes("eager", "graph", "xla")
def test_the_first_step_is_that_of_the_formula(net, data, crossentropy, mode):
    """One SGD step at rate 1 is minus the gradient."""
    wrapper = supervised(net)
    wrapper.compile(keras.optimizers.SGD(1.0), crossentropy, **mode)
    tensors = [v.value for v in wrapper.trainable_variables]
    tensors = [ops.convert_to_tensor(value) for value in arrays(tensors)]
    total, gradients = backend.value_and_gradients(
        lambda tensors: slow_loss(tensors, *data), tensors
    )
    task, ((first, _), (second, _)) = slow_terms(tensors, *data)
    logs, moved = step(wrapper, data)
    expected = {
        "loss": float(total),
        "task_loss": float(task),
        "head_loss/hidden_0": float(first),
        "head_loss/hidden_2": float(second),
    }
    assert logs == pytest.approx(expected, rel=1e-5)
    close(moved, arrays(gradients), 1e-4, 2e-6)


def test_below_gamma_a_head_falls_silent(net, data, crossentropy):
    wrapper = supervised(net, {"hidden_1": {"gamma": 1e3}})
    wrapper.compile(keras.optimizers.SGD(0.1), crossentropy, **EAGER)
    before = arrays(wrapper.head_layers[0].weights)
    logs = logs_of(fit(wrapper, data))
    close(arrays(wrapper.head_layers[0].weights), before, 0, 0)
    assert logs["loss"] == logs["task_loss"]


def test_means_of_losses_are_over_the_samples(net, data, crossentropy):
    """A smaller batch at the end counts less."""
    wrapper = supervised(net)
    wrapper.compile(keras.optimizers.SGD(0.0), crossentropy, **EAGER)
    whole = logs_of(fit(wrapper, data))
    parts = logs_of(fit(wrapper, data, batch_size=24))
    for key in ("task_loss", "head_loss/hidden_0", "head_loss/hidden_2"):
        assert parts[key] == pytest.approx(whole[key], rel=1e-5)


def test_penalties_of_heads_are_none_of_validation(net, data, crossentropy):
    wrapper = supervised(net)
    wrapper.compile("sgd", crossentropy, **EAGER)
    expected = float(crossentropy(data[1], wrapper.base(data[0])))
    assert wrapper.evaluate(*data, verbose=0) == pytest.approx(expected, 1e-5)


class Alphas(keras.callbacks.Callback):
    """Remembers the weights of an epoch, and may change one."""

    def __init__(self, change=None):
        super().__init__()
        self.seen, self.change = [], change

    def on_epoch_end(self, epoch, logs=None):
        self.seen.append(self.model.current_alphas())
        if epoch == 0 and self.change:
            self.model.set_alphas(self.change)


def test_a_scheduled_head_counts_by_its_factor(net, data, crossentropy):
    """In its first epoch a decaying head counts a tenth."""
    moves = []
    for settings in ({"alpha": 2.0, "schedule": "decay"}, {"alpha": 0.2}):
        keras.utils.set_random_seed(3)
        wrapper = DeepSupervision(net(), {"hidden_1": Head(**settings)})
        wrapper.compile(keras.optimizers.SGD(1.0), crossentropy, **EAGER)
        moves.append(step(wrapper, data))
    (logs, moved), (expected_logs, expected) = moves
    assert logs["loss"] == pytest.approx(expected_logs["loss"], rel=1e-6)
    close(moved, expected)


def test_a_schedule_multiplies_alpha_epoch_by_epoch(net, data, crossentropy):
    heads = {"hidden_0": Head(alpha=2.0, schedule="decay"), "hidden_1": Head()}
    wrapper, seen = DeepSupervision(net(), heads), Alphas()
    wrapper.compile("sgd", crossentropy, **EAGER)
    assert wrapper.current_alphas() == pytest.approx(
        {"hidden_0": 0.2, "hidden_1": 1.0}
    )
    fit(wrapper, data, 4, callbacks=[seen])
    decayed = [each["hidden_0"] for each in seen.seen]
    assert decayed == pytest.approx([0.2, 0.15, 0.1, 0.05], rel=1e-6)
    assert [each["hidden_1"] for each in seen.seen] == [1.0] * 4
    fit(wrapper, data, 4, initial_epoch=2, callbacks=[seen])
    resumed = [each["hidden_0"] for each in seen.seen[4:]]
    assert resumed == pytest.approx([0.1, 0.05], rel=1e-6)


def test_a_changed_alpha_works_without_a_retrace(net, data, crossentropy):
    traces = []

    def counted(y, scores):
        traces.append(1)
        return ops.sum(ops.square(scores), -1)

    wrapper = DeepSupervision(net(), {"hidden_0": Head(loss=counted)})
    wrapper.compile(keras.optimizers.SGD(0.0), crossentropy, **GRAPH)
    first = logs_of(fit(wrapper, data, callbacks=[Alphas({"hidden_0": 0.25})]))
    before = len(traces)
    again = logs_of(fit(wrapper, data))
    assert before > 0 and len(traces) == before
    head, task = first["head_loss/hidden_0"], first["task_loss"]
    assert first["loss"] == pytest.approx(task + head, rel=1e-5)
    assert again["loss"] == pytest.approx(task + 0.25 * head, rel=1e-5)


@pytest.mark.parametrize("within", [False, True])
def test_an_alpha_changes_between_two_steps(net, data, crossentropy, within):
    """By `self.model`, on JAX too, where weights are away in an epoch."""

    class Silence(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            wrapper = self.model.base if within else self.model
            if batch == 1:
                wrapper.set_alphas({"hidden_0": 0.0})
            self.last = wrapper.current_alphas()["hidden_0"]

    inner = DeepSupervision(net(), {"hidden_0": Head(alpha=0.5)})
    wrapper = BatchEntropyRegularizer(inner, beta=0.0) if within else inner
    wrapper.compile(keras.optimizers.SGD(0.0), crossentropy, **EAGER)
    whole = logs_of(fit(wrapper, data, batch_size=8))
    first = logs_of(fit(wrapper, [array[:16] for array in data]))
    silence = Silence()
    half = logs_of(fit(wrapper, data, batch_size=8, callbacks=[silence]))
    assert silence.last == 0.0
    # Of four batches two came before the change.
    added = first["head_loss/hidden_0"] * 0.5 / 2
    assert half["loss"] - half["task_loss"] == pytest.approx(added, rel=1e-4)
    added = whole["head_loss/hidden_0"] * 0.5
    assert whole["loss"] - whole["task_loss"] == pytest.approx(added, rel=1e-4)


def test_alphas_of_layers_without_a_head(net):
    wrapper = DeepSupervision(net(), {"hidden_1": Head()})
    with pytest.raises(ValueError, match="must have a head"):
        wrapper.set_alphas({"hidden_0": 1.0})
    with pytest.raises(ValueError, match="Received: alpha="):
        wrapper.set_alphas({"hidden_1": -1.0})


def test_a_second_stage_without_heads(net, data, crossentropy):
    wrapper = supervised(net)
    adam = keras.optimizers.Adam(0.01)
    wrapper.compile(adam, crossentropy, metrics=["accuracy"], **EAGER)
    fit(wrapper, data)
    wrapper.optimizer.learning_rate.assign(0.001)
    model = wrapper.drop_heads()
    assert model is wrapper.base
    assert float(model.optimizer.learning_rate.numpy()) == pytest.approx(0.001)
    expected = wrapper.evaluate(*data, verbose=0)
    assert model.evaluate(*data, verbose=0) == pytest.approx(expected)
    before = arrays(wrapper.trainable_variables)
    fit(model, data)
    after = arrays(wrapper.trainable_variables)
    moved = [np.any(a != b) for a, b in zip(after, before, strict=True)]
    assert moved == [True] * 8 + [False] * 4


def test_a_second_stage_with_functions_that_no_file_names(net, data):
    def loss(y, scores):
        return keras.losses.sparse_categorical_crossentropy(y, scores, True)

    wrapper = supervised(net)
    metrics = [lambda y, scores: ops.max(scores)]
    wrapper.compile("sgd", loss, metrics=metrics, **EAGER)
    fit(wrapper, data)
    expected = wrapper.evaluate(*data, verbose=0)
    model = wrapper.drop_heads()
    assert model.evaluate(*data, verbose=0) == pytest.approx(expected)
    assert len(fit(model, data)) == 2


def test_every_setting_survives_a_file(net, data, tmp_path):
    loss = keras.losses.CategoricalCrossentropy(
        from_logits=True, label_smoothing=0.1
    )
    heads = {
        "hidden_0": Head(dense(), loss, 0.5, 0.1, paper_decay),
        "hidden_1": Head(loss="mse", schedule="decay", target="out"),
    }
    wrapper = DeepSupervision(net(), heads, name="mine")
    task = keras.losses.CategoricalCrossentropy(True)
    wrapper.compile("adam", task, **EAGER)
    wrapper.set_alphas({"hidden_1": 0.125})
    data = data[0], np.eye(3, dtype="float32")[data[1]]
    fit(wrapper, data, 2)
    wrapper.save(tmp_path / "w.keras")
    read = keras.models.load_model(tmp_path / "w.keras")
    assert read.name == "mine"
    assert read.get_config()["heads"] == wrapper.get_config()["heads"]
    assert read.current_alphas() == wrapper.current_alphas()
    one, other = (logs_of(fit(m, data)) for m in (wrapper, read))
    assert one == pytest.approx(other, rel=1e-5)
    first, second = (
        keras.saving.deserialize_keras_object(each)
        for each in read.get_config()["heads"].values()
    )
    assert first.loss.get_config() == loss.get_config()
    assert (first.alpha, first.gamma) == (0.5, 0.1)
    assert first.layer.kernel_regularizer.get_config() == {
        "l2": pytest.approx(0.01)
    }
    assert (second.target, second.gamma, second.layer) == ("out", None, None)
    assert first.schedule is second.schedule is paper_decay
