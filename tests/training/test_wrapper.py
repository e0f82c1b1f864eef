"""What each wrapper keeps: the plain model, its logs, its precision."""

import keras
import numpy as np
import pytest
from keras import layers

from tests.helpers import activity_penalty, arrays, close
from tests.training.harness import (
    EAGER,
    MODES,
    SINGLE,
    each_wrapper,
    fit,
    in_modes,
    logs_of,
)
from tfdeep.keras_internals import layers_of
from tfdeep.training import (
    BatchEntropyRegularizer,
    DeepSupervision,
    Head,
    RelayBackpropagation,
)


class Seen(keras.callbacks.Callback):
    """Remembers the logs of the last epoch."""

    def on_epoch_end(self, epoch, logs=None):
        self.logs = dict(logs)


@each_wrapper
def test_logs_and_predictions_are_those_of_the_model(
    wrap, net, data, crossentropy
):
    """Without learning, what training reports is what evaluation measures."""
    wrapper, seen = wrap(net()), Seen()
    settings = {"metrics": ["accuracy"], **EAGER}
    wrapper.compile(keras.optimizers.SGD(0.0), crossentropy, **settings)
    watched = {"validation_data": data, "callbacks": [seen]}
    history = fit(wrapper, data, batch_size=24, **watched)
    wrapper.base.compile("sgd", crossentropy, **settings)
    expected = wrapper.base.evaluate(*data, verbose=0, return_dict=True)
    expected = {key: pytest.approx(v, 1e-5) for key, v in expected.items()}
    logs = logs_of(history)
    assert seen.logs == logs
    assert logs["task_loss"] == expected["loss"] != logs["loss"]
    assert logs["accuracy"] == expected["accuracy"]
    validated = {k[4:]: v for k, v in logs.items() if k.startswith("val_")}
    assert validated == expected
    assert wrapper.evaluate(*data, verbose=0, return_dict=True) == expected
    loss, accuracy = wrapper.evaluate(*data, verbose=0)
    assert {"loss": loss, "accuracy": accuracy} == expected
    assert wrapper.test_on_batch(*data, return_dict=True) == expected
    np.testing.assert_array_equal(
        wrapper.predict(data[0], verbose=0),
        wrapper.base.predict(data[0], verbose=0),
    )


@each_wrapper
def test_the_model_inside_stays_as_it_is(wrap, net, data, crossentropy):
    model = net()
    config, weights = model.get_config(), [id(w) for w in model.weights]
    wrapper = wrap(model)
    wrapper.compile("sgd", crossentropy, **EAGER)
    before = arrays(model.weights)
    fit(wrapper, data)
    assert wrapper.plain() is model and model.get_config() == config
    assert [id(w) for w in model.weights] == weights
    for old, new in zip(before, arrays(model.weights), strict=True):
        assert np.any(old != new)
    names = {layer.name for layer in layers_of(wrapper)}
    assert "functional" not in names  # The view is no part of it.


@in_modes("eager", "xla")
def test_a_term_of_weight_0_leaves_the_plain_model(
    net, data, crossentropy, mode
):
    """Exactly."""
    silent = {name: Head(alpha=0.0) for name in ("hidden_0", "hidden_1")}
    found = []
    for wrap in (
        lambda model: model,
        lambda model: BatchEntropyRegularizer(model, beta=0.0),
        lambda model: DeepSupervision(model, silent),
    ):
        model = net(depth=2)
        wrapper = wrap(model)
        wrapper.compile(keras.optimizers.SGD(0.1), crossentropy, **mode)
        fit(wrapper, data, 2, batch_size=16)
        found.append(model.get_weights())
    for weights in found[1:]:
        close(weights, found[0], 0, 0)


@pytest.mark.parametrize(
    "name, policy, mode",
    [
        ("entropy", "mixed_float16", "eager"),
        ("supervision", "mixed_float16", "eager"),
        ("relay", "mixed_float16", "graph"),
        ("entropy", "mixed_bfloat16", "eager"),
        ("relay", "mixed_bfloat16", "eager"),
    ],
)
def test_half_precision_trains(name, policy, mode, net, data, crossentropy):
    keras.config.set_dtype_policy(policy)
    wrapper = SINGLE[name](net())
    wrapper.compile(keras.optimizers.Adam(0.01), crossentropy, **MODES[mode])
    before = arrays(wrapper.trainable_variables)
    history = fit(wrapper, data, 2, batch_size=16)
    assert np.isfinite(history["loss"]).all()
    assert {v.dtype for v in wrapper.trainable_variables} == {"float32"}
    after = arrays(wrapper.trainable_variables)
    unmoved = [
        variable.path
        for variable, old, new in zip(
            wrapper.trainable_variables, before, after, strict=True
        )
        if np.array_equal(old, new)
    ]
    assert unmoved == []
    scaled = isinstance(wrapper.optimizer, keras.optimizers.LossScaleOptimizer)
    assert scaled == (policy == "mixed_float16")


@pytest.mark.parametrize("name", ["entropy", "relay"])
def test_gradients_are_accumulated(name, net, data, crossentropy):
    """Two half-batches make the step of their mean gradient."""
    wrap = SINGLE[name]
    wrapper = wrap(net())
    sgd = keras.optimizers.SGD(0.1, gradient_accumulation_steps=2)
    wrapper.compile(sgd, crossentropy, **EAGER)
    start = arrays(wrapper.trainable_variables)
    fit(wrapper, data, batch_size=16)
    moved = arrays(wrapper.trainable_variables)
    steps = []
    for half in (slice(0, 16), slice(16, 32)):
        twin = wrap(net())
        twin.compile(keras.optimizers.SGD(0.1), crossentropy, **EAGER)
        twin.train_on_batch(*(array[half] for array in data))
        steps.append(arrays(twin.trainable_variables))
    expected = [(one + other) / 2 for one, other in zip(*steps, strict=True)]
    changes = [new - old for new, old in zip(moved, start, strict=True)]
    close(
        changes,
        [new - old for new, old in zip(expected, start, strict=True)],
        *(1e-4, 1e-6),
    )


@each_wrapper
def test_losses_that_layers_add_count_once(wrap, net, data, crossentropy):
    """What a layer adds within the model is part of the loss, not the task."""
    logs = []
    for strength in (0.0, 0.5):
        model = net()
        x = layers.ActivityRegularization(l2=strength)(model.layers[0].output)
        for layer in model.layers[1:]:
            x = layer(x)
        wrapper = wrap(keras.Model(model.inputs[0], x))
        wrapper.compile(keras.optimizers.SGD(0.0), crossentropy, **EAGER)
        logs.append(logs_of(fit(wrapper, data)))
        low = wrapper.plain().layers[1](data[0])
        added = activity_penalty(0.5 * np.sum(arrays([low])[0] ** 2), 32)
    without, with_it = logs
    difference = with_it["loss"] - without["loss"]
    assert difference == pytest.approx(added, rel=1e-4)
    assert with_it["task_loss"] == pytest.approx(without["task_loss"])


@each_wrapper
def test_a_huge_penalty_leaves_the_loss_of_the_task(
    wrap, net, data, crossentropy
):
    model = net()
    model.layers[0].kernel_regularizer = None
    model.layers[0].kernel.regularizer = keras.regularizers.L2(1e8)
    wrapper = wrap(model)
    wrapper.compile(keras.optimizers.SGD(0.0), crossentropy, **EAGER)
    task = float(crossentropy(data[1], model(data[0])))
    logs = logs_of(fit(wrapper, data))
    assert logs["task_loss"] == pytest.approx(task, rel=1e-6)
    assert logs["loss"] > 1e8


@each_wrapper
def test_targets_may_come_in_a_list_of_one(wrap, net, data, crossentropy):
    x, y = data
    weights = np.linspace(0.1, 1.0, 32)
    found = []
    for targets, given in ((y, weights), ([y], [weights]), ((y,), weights)):
        wrapper = wrap(net())
        wrapper.compile("sgd", crossentropy, **EAGER)
        logs = fit(wrapper, (x, targets), sample_weight=given)
        found.append(logs["loss"])
    assert found[1] == found[0] and found[2] == found[0]


@each_wrapper
def test_callbacks_may_come_as_a_callback_list(wrap, net, data, crossentropy):
    wrapper = wrap(net())
    wrapper.compile("sgd", crossentropy, **EAGER)
    seen: list = []
    log = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: seen.append(sorted(logs))
    )
    callbacks = keras.callbacks.CallbackList(
        [log], add_history=True, model=wrapper, epochs=1, steps=1, verbose=0
    )
    expected = sorted(fit(wrapper, data, callbacks=[log]))
    for _ in range(2):  # The same list again.
        wrapper.fit(*data, batch_size=32, callbacks=callbacks, verbose=0)
    assert seen == [expected] * 3


@pytest.mark.parametrize(
    "wrap",
    [
        BatchEntropyRegularizer,
        lambda model: DeepSupervision(model, {"low": Head(target="v")}),
        lambda model: RelayBackpropagation(model, {"low": Head(target="v")}),
    ],
    ids=["entropy", "supervision", "relay"],
)
def test_structured_inputs_and_outputs(wrap):
    inputs = {n: keras.Input((s,), name=n) for n, s in (("a", 3), ("b", 2))}
    x = layers.Concatenate()([inputs["a"], inputs["b"]])
    low = layers.Dense(4, "tanh", name="low")
    x = layers.Dense(4, "tanh")(low(x))
    outputs = {"u": layers.Dense(1)(x), "v": layers.Dense(3)(x)}
    wrapper = wrap(keras.Model(inputs, outputs))
    sgd = keras.optimizers.SGD(0.1)
    wrapper.compile(sgd, {"u": "mse", "v": "mse"}, **EAGER)
    random = np.random.default_rng(0)
    x = {"a": random.normal(size=(8, 3)), "b": random.normal(size=(8, 2))}
    y = {"u": random.normal(size=(8, 1)), "v": np.eye(3)[np.arange(8) % 3]}
    expected = wrapper.base(x)
    before = arrays(low.weights)
    logs = logs_of(fit(wrapper, (x, y)))
    task = sum(np.mean((arrays([expected[k]])[0] - y[k]) ** 2) for k in y)
    assert logs["task_loss"] == pytest.approx(task, rel=1e-4)
    for old, new in zip(before, arrays(low.weights), strict=True):
        assert np.any(old != new)


@each_wrapper
def test_only_models_are_wrapped(wrap):
    with pytest.raises(TypeError, match="must be a keras.Model, which"):
        wrap(layers.Dense(3))
