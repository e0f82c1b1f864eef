"""Deep supervision: its loss, its gradients, its weights, what is refused."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from tests.helpers import BACKEND, arrays
from tfdeep import backend
from tfdeep.training import (
    L2SVM,
    BatchEntropyRegularizer,
    DeepSupervision,
    Head,
    RelayBackpropagation,
    paper_decay,
)

MODES = [{"jit_compile": True}]
if BACKEND == "tensorflow":
    MODES += [{"jit_compile": False}, {"run_eagerly": True}]

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


@pytest.mark.parametrize("mode", MODES, ids=str)
def test_the_first_step_is_that_of_the_formula(net, data, crossentropy, mode):
    """One SGD step at rate 1 is minus the gradient."""
    wrapper = supervised(net)
    wrapper.compile(keras.optimizers.SGD(1.0), crossentropy, **mode)
    before = arrays(wrapper.trainable_variables)
    tensors = [ops.convert_to_tensor(value) for value in before]
    total, gradients = backend.value_and_gradients(
        lambda tensors: slow_loss(tensors, *data), tensors
    )
    task, ((first, _), (second, _)) = slow_terms(tensors, *data)
    history = wrapper.fit(*data, verbose=0).history
    logged = {key: value[0] for key, value in history.items()}
    expected = {
        "loss": float(total),
        "task_loss": float(task),
        "head_loss/hidden_0": float(first),
        "head_loss/hidden_2": float(second),
    }
    assert logged == pytest.approx(expected, rel=1e-5)
    after = arrays(wrapper.trainable_variables)
    for old, new, gradient in zip(
        before, after, arrays(gradients), strict=True
    ):
        np.testing.assert_allclose(old - new, gradient, 1e-4, 2e-6)


def test_below_gamma_a_head_falls_silent(net, data, crossentropy):
    wrapper = supervised(net, {"hidden_1": {"gamma": 1e3}})
    wrapper.compile(keras.optimizers.SGD(0.1), crossentropy)
    before = arrays(wrapper.head_layers[0].weights)
    history = wrapper.fit(*data, verbose=0).history
    for old, new in zip(
        before, arrays(wrapper.head_layers[0].weights), strict=True
    ):
        np.testing.assert_array_equal(old, new)
    assert history["loss"] == history["task_loss"]


@pytest.mark.parametrize("mode", MODES, ids=str)
def test_alpha_0_is_the_plain_model(net, data, crossentropy, mode):
    plain = net()
    silent = {"hidden_0": {"alpha": 0.0}, "hidden_2": {"alpha": 0.0}}
    wrapper = supervised(net, silent)
    for model in (plain, wrapper):
        model.compile(keras.optimizers.Adam(0.01), crossentropy, **mode)
        model.fit(*data, batch_size=8, epochs=2, shuffle=False, verbose=0)
    for ours, theirs in zip(
        wrapper.base.get_weights(), plain.get_weights(), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)


def test_penalties_of_heads_are_none_of_validation(net, data, crossentropy):
    wrapper = supervised(net)
    wrapper.compile("sgd", crossentropy)
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


def test_the_papers_decay(net, data, crossentropy):
    heads = {"hidden_0": Head(alpha=2.0, schedule="decay"), "hidden_1": Head()}
    wrapper, seen = DeepSupervision(net(), heads), Alphas()
    wrapper.compile("sgd", crossentropy)
    wrapper.fit(*data, epochs=4, verbose=0, callbacks=[seen])
    decayed = [each["hidden_0"] for each in seen.seen]
    assert decayed == pytest.approx([0.2, 0.15, 0.1, 0.05], rel=1e-6)
    assert [each["hidden_1"] for each in seen.seen] == [1.0] * 4
    wrapper.fit(*data, epochs=4, initial_epoch=2, verbose=0, callbacks=[seen])
    resumed = [each["hidden_0"] for each in seen.seen[4:]]
    assert resumed == pytest.approx([0.1, 0.05], rel=1e-6)


def test_a_changed_alpha_works_without_a_retrace(net, data, crossentropy):
    traces = []

    def counted(y, scores):
        traces.append(1)
        return ops.sum(ops.square(scores), -1)

    wrapper = DeepSupervision(net(), {"hidden_0": Head(loss=counted)})
    wrapper.compile(keras.optimizers.SGD(0.0), crossentropy)
    change = Alphas({"hidden_0": 0.25})
    history = wrapper.fit(*data, verbose=0, callbacks=[change]).history
    before = len(traces)
    again = wrapper.fit(*data, epochs=1, verbose=0).history
    assert before > 0 and len(traces) == before
    head, task = history["head_loss/hidden_0"][0], history["task_loss"][0]
    assert history["loss"] == [pytest.approx(task + head, rel=1e-5)]
    assert again["loss"] == [pytest.approx(task + 0.25 * head, rel=1e-5)]


@pytest.mark.parametrize("within", [False, True])
def test_an_alpha_changes_between_two_steps(net, data, crossentropy, within):
    """By `self.model`, on JAX too, where weights are away in an epoch."""

    class Silence(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            wrapper = self.model.base if within else self.model
            if batch == 1:
                wrapper.set_alphas({"hidden_0": 0.0})
            self.last = wrapper.current_alphas()["hidden_0"]

    losses = []
    for callback in (None, Silence()):
        keras.utils.set_random_seed(3)
        inner = DeepSupervision(net(), {"hidden_0": Head(alpha=0.5)})
        wrapper = BatchEntropyRegularizer(inner, beta=0.0) if within else inner
        wrapper.compile(keras.optimizers.SGD(0.0), crossentropy)
        fitted = wrapper.fit(
            *data,
            batch_size=8,
            shuffle=False,
            verbose=0,
            callbacks=[callback] if callback else [],
        )
        losses.append({k: v[0] for k, v in fitted.history.items()})
    whole, half = (each["loss"] - each["task_loss"] for each in losses)
    assert callback.last == 0.0
    first = DeepSupervision(inner.base, {"hidden_0": Head(alpha=0.5)})
    first.head_layers[0].set_weights(inner.head_layers[0].get_weights())
    first.compile(keras.optimizers.SGD(0.0), crossentropy)
    x, y = (array[:16] for array in data)
    logs = first.fit(x, y, batch_size=8, verbose=0).history
    # Of four batches two came before the change.
    assert half == pytest.approx(logs["head_loss/hidden_0"][0] / 4, rel=1e-4)
    assert whole > half > 0


def test_a_second_stage_without_heads(net, data, crossentropy):
    wrapper = supervised(net)
    wrapper.compile(
        keras.optimizers.Adam(0.01), crossentropy, metrics=["accuracy"]
    )
    wrapper.fit(*data, epochs=2, verbose=0)
    wrapper.optimizer.learning_rate.assign(0.001)
    model = wrapper.drop_heads()
    assert model is wrapper.base
    assert float(model.optimizer.learning_rate.numpy()) == pytest.approx(0.001)
    expected = wrapper.evaluate(*data, verbose=0)
    assert model.evaluate(*data, verbose=0) == pytest.approx(expected)
    before = arrays(wrapper.head_layers[0].weights)
    model.fit(*data, verbose=0)
    for old, new in zip(
        before, arrays(wrapper.head_layers[0].weights), strict=True
    ):
        np.testing.assert_array_equal(old, new)


def test_a_second_stage_with_functions_that_no_file_names(net, data):
    def loss(y, scores):
        return keras.losses.sparse_categorical_crossentropy(y, scores, True)

    wrapper = supervised(net)
    wrapper.compile("sgd", loss, metrics=[lambda y, scores: ops.max(scores)])
    wrapper.fit(*data, verbose=0)
    expected = wrapper.evaluate(*data, verbose=0)
    model = wrapper.drop_heads()
    assert model.evaluate(*data, verbose=0) == pytest.approx(expected)
    assert len(model.fit(*data, verbose=0).history) == 2


def test_every_setting_survives_a_file(net, data, crossentropy, tmp_path):
    loss = keras.losses.CategoricalCrossentropy(
        from_logits=True, label_smoothing=0.1
    )
    heads = {
        "hidden_0": Head(dense(), loss, 0.5, 0.1, paper_decay),
        "hidden_1": Head(loss="mse", schedule="decay"),
    }
    wrapper = DeepSupervision(net(), heads)
    wrapper.compile("adam", keras.losses.CategoricalCrossentropy(True))
    wrapper.set_alphas({"hidden_1": 0.125})
    x, y = data[0], np.eye(3, dtype="float32")[data[1]]
    wrapper.fit(x, y, epochs=2, verbose=0)
    wrapper.save(tmp_path / "w.keras")
    read = keras.models.load_model(tmp_path / "w.keras")
    assert read.get_config()["heads"] == wrapper.get_config()["heads"]
    assert read.current_alphas() == wrapper.current_alphas()
    one, other = (m.fit(x, y, verbose=0).history for m in (wrapper, read))
    assert one == {k: pytest.approx(v, rel=1e-5) for k, v in other.items()}


def test_images_are_pooled_and_paths_lead_into_models(data, crossentropy):
    block = keras.Sequential(
        [keras.Input((4, 4, 2)), layers.Conv2D(5, 3, name="conv")], name="block"
    )
    inputs = keras.Input((4, 4, 2))
    x = layers.Flatten()(layers.ReLU()(block(inputs)))
    model = keras.Model(inputs, layers.Dense(3)(x))
    wrapper = DeepSupervision(model, {"conv": Head()})
    wrapper.compile(keras.optimizers.SGD(0.1), crossentropy)
    images = np.random.default_rng(0).normal(size=(8, 4, 4, 2))
    before = arrays(wrapper.trainable_variables)
    wrapper.fit(images, data[1][:8], verbose=0)
    after = arrays(wrapper.trainable_variables)
    assert wrapper.names == ["block/conv"]
    assert [w.shape for w in wrapper.head_layers[0].weights] == [(5, 3), (3,)]
    for old, new in zip(before, after, strict=True):
        assert not np.array_equal(old, new)


def test_any_layer_is_a_head_and_is_copied(net, data, crossentropy):
    def mlp():
        return keras.Sequential(
            [layers.Dense(5, "relu"), layers.Dropout(0.5), layers.Dense(3)]
        )

    head = Head(mlp())
    heads = {"hidden_0": head, "hidden_1": head}
    wrapper = DeepSupervision(net(), heads)
    wrapper.compile("adam", crossentropy)
    wrapper.fit(*data, verbose=0)
    first, second = (each.weights[0] for each in wrapper.head_layers)
    assert not np.array_equal(*arrays([first, second]))
    assert not head.layer.built
    trained = keras.Sequential([keras.Input((6,)), layers.Dense(3)])
    copy = DeepSupervision(net(), {"hidden_0": Head(trained)}).head_layers[0]
    for ours, theirs in zip(
        copy.get_weights(), trained.get_weights(), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)


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
        wrapper.compile(keras.optimizers.SGD(0.0), crossentropy)
        wrapper.fit(*data, batch_size=32, verbose=0)
        history = wrapper.fit(*data, batch_size=32, verbose=0).history
        losses.append(history["loss"][0])
    base = wrapper.base.layers
    low = arrays([base[1](base[0](data[0]))])[0]
    added = 0.7 * 0.5 * float(low.mean())
    assert losses[1] - losses[0] == pytest.approx(added, rel=1e-4)


def two_outputs():
    inputs = keras.Input((8,))
    x = layers.Dense(6, "relu", name="hidden_0")(inputs)
    x = layers.Dense(6, "relu", name="hidden_1")(x)
    outputs = {"size": layers.Dense(1)(x), "kind": layers.Dense(3)(x)}
    return keras.Model(inputs, outputs)


def test_a_head_learns_its_target(data, crossentropy):
    x, y = data
    targets = {"size": x[:, :1] * 9, "kind": y}
    heads = {
        "hidden_0": Head(loss="mse", target="size", alpha=0.5),
        "hidden_1": Head(target="kind"),
    }
    wrapper = DeepSupervision(two_outputs(), heads)
    wrapper.compile(
        keras.optimizers.SGD(0.0), {"size": "mse", "kind": crossentropy}
    )
    history = wrapper.fit(x, targets, verbose=0).history
    low = ops.relu(wrapper.base.get_layer("hidden_0")(x))
    size = arrays([wrapper.head_layers[0](low)])[0]
    expected = float(np.mean(np.square(size - targets["size"])))
    measured = history["head_loss/hidden_0"]
    assert measured == [pytest.approx(expected, rel=1e-4)]
    total = history["task_loss"][0] + 0.5 * expected
    total += history["head_loss/hidden_1"][0]
    assert history["loss"] == [pytest.approx(total, rel=1e-4)]


@pytest.mark.parametrize("target", ["kind", 1])
@pytest.mark.parametrize("named", [True, False])
def test_targets_of_a_list_of_outputs(data, crossentropy, target, named):
    """By index or name, in a list or dictionary, as Keras takes them."""
    x, y = data
    inputs = keras.Input((8,))
    hidden = layers.Dense(6, "relu", name="hidden")(inputs)
    outputs = [
        layers.Dense(n, name=s)(hidden) for n, s in [(1, "size"), (3, "kind")]
    ]
    wrapper = DeepSupervision(
        keras.Model(inputs, outputs), {"hidden": Head(target=target)}
    )
    targets, losses = [x[:, :1], y], ["mse", crossentropy]
    if named:
        targets, losses = (
            dict(zip(["size", "kind"], each, strict=True))
            for each in (targets, losses)
        )
    wrapper.compile(keras.optimizers.SGD(0.0), losses)
    history = wrapper.fit(x, targets, verbose=0).history
    low = ops.relu(wrapper.base.get_layer("hidden")(x))
    expected = float(L2SVM()(y, wrapper.head_layers[0](low)))
    assert history["head_loss/hidden"] == [pytest.approx(expected, rel=1e-4)]


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda y: y, "one ndarray for a model of several outputs"),
        (lambda y: [y, y], r"list of \[0, 1\]. A head learns those of 'kind'"),
        (lambda y: {"size": y}, r"dict of \['size'\]"),
    ],
)
def test_targets_without_those_of_a_head(data, make, message):
    x, y = data
    heads = {"hidden_0": Head(target="kind")}
    wrapper = DeepSupervision(two_outputs(), heads)
    wrapper.compile("sgd", {"size": "mse", "kind": "mse"})
    with pytest.raises(ValueError, match=message):
        wrapper.fit(x, make(y), verbose=0)


@pytest.mark.parametrize("target", [None, "knd", 0])
def test_one_y_for_several_outputs(target):
    heads = {"hidden_0": Head(target=target)}
    with pytest.raises(ValueError, match=r"several outputs.*'size', 'kind'"):
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
        ({}, TypeError, "`heads` came as"),
        (["hidden_1"], TypeError, "`heads` came as"),
        ({"hidden_1": Head(), "hidden_1#1": Head()}, ValueError, "two heads"),
    ],
)
def test_heads_that_cannot_be(net, heads, error, message):
    with pytest.raises(error, match=message):
        DeepSupervision(net(), heads)


@pytest.mark.parametrize(
    "settings, error, message",
    [
        *(
            ({name: value}, ValueError, f"`{name}` came as.*number from 0")
            for name in ("alpha", "gamma")
            for value in (-1.0, "1", float("nan"), float("inf"), True)
        ),
        ({"layer": "dense"}, TypeError, "`layer` came as"),
        ({"schedule": "cosine"}, TypeError, "`schedule` came as"),
        ({"loss": "categorical_crossentropy"}, ValueError, "gives scores"),
        (
            {"loss": keras.losses.SparseCategoricalCrossentropy()},
            ValueError,
            "gives scores",
        ),
    ],
)
def test_settings_that_cannot_be(settings, error, message):
    with pytest.raises(error, match=message):
        Head(**settings)


def test_a_default_head_for_what_is_no_row():
    inputs = keras.Input((4, 4, 2))
    x = layers.Conv2D(2, 1, name="conv")(inputs)
    model = keras.Model(inputs, layers.Conv2D(3, 1)(x))
    with pytest.raises(ValueError, match="Give the head a `layer`"):
        DeepSupervision(model, {"conv": Head()})


def test_labels_outside_the_classes_before_the_first_step(
    net, data, crossentropy
):
    wrapper = DeepSupervision(net(), {"hidden_1": Head()})
    wrapper.compile("sgd", crossentropy)
    with pytest.raises(ValueError, match="takes numbers from 0 to 2"):
        wrapper.fit(data[0], data[1] + 1, verbose=0)
    assert int(wrapper.optimizer.iterations.numpy()) == 0


def test_alphas_of_layers_without_a_head(net):
    wrapper = DeepSupervision(net(), {"hidden_1": Head()})
    with pytest.raises(ValueError, match="which has no head"):
        wrapper.set_alphas({"hidden_0": 1.0})
    with pytest.raises(ValueError, match="`alpha` came as"):
        wrapper.set_alphas({"hidden_1": -1.0})


@pytest.mark.parametrize("where", ["hidden_1", "the head of hidden_1"])
def test_a_nan_names_the_layer_where_it_began(net, data, crossentropy, where):
    model = net(activation="tanh")
    heads = {"hidden_0": Head(), "hidden_1": Head()}
    wrapper = DeepSupervision(model, heads)
    layer = model.layers[1]
    if where != "hidden_1":
        layer = wrapper.head_layers[1].layers[-1]
    layer.kernel.assign(np.full(layer.kernel.shape, np.nan))
    wrapper.compile("sgd", crossentropy)
    with pytest.raises(FloatingPointError, match=f"'{where}'"):
        wrapper.fit(*data, batch_size=8, verbose=0)
