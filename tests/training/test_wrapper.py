"""What every wrapper keeps: the plain model, `fit`, files, precision."""

import pathlib
import tempfile

import keras
import numpy as np
import pytest
from keras import layers

import tfdeep
from tests.helpers import BACKEND, arrays
from tfdeep.inside import layers_of
from tfdeep.training import (
    BatchEntropyRegularizer,
    DeepSupervision,
    Head,
    RelayBackpropagation,
)


def supervised(model, heads):
    keras.utils.set_random_seed(3)  # Heads that start equal.
    return DeepSupervision(model, heads)


def relayed(model, heads):
    keras.utils.set_random_seed(3)
    return RelayBackpropagation(model, heads)


WRAPPERS = {
    "entropy": lambda model: BatchEntropyRegularizer(model, alpha=1.0),
    "supervision": lambda model: supervised(
        model, {"hidden_0": Head(), "hidden_2": Head(schedule="decay")}
    ),
    "both": lambda model: BatchEntropyRegularizer(
        supervised(model, {"hidden_1": Head(alpha=0.5)}), alpha=1.0
    ),
    "both, turned": lambda model: supervised(
        BatchEntropyRegularizer(model, alpha=1.0), {"hidden_1": Head()}
    ),
    "relay": lambda model: relayed(
        model, {"hidden_0": Head(), "hidden_1": Head(schedule="decay")}
    ),
    "entropy of relay": lambda model: BatchEntropyRegularizer(
        relayed(model, {"hidden_1": Head(alpha=0.5)}), alpha=1.0
    ),
}
each_wrapper = pytest.mark.parametrize(
    "wrap", WRAPPERS.values(), ids=list(WRAPPERS)
)


def fit(model, data, epochs=1, **arguments):
    arguments = {"batch_size": 8, "shuffle": False, **arguments}
    return model.fit(*data, epochs=epochs, verbose=0, **arguments).history


@each_wrapper
def test_the_model_inside_stays_as_it_is(wrap, net, data, crossentropy):
    model = net()
    config, weights = model.get_config(), [id(w) for w in model.weights]
    wrapper = wrap(model)
    wrapper.compile("sgd", crossentropy)
    fit(wrapper, data)
    assert wrapper.plain() is model and model.get_config() == config
    assert [id(w) for w in model.weights] == weights
    names = {layer.name for layer in layers_of(wrapper)}
    assert "functional" not in names  # The view is no part of it.


@each_wrapper
def test_validation_and_prediction_are_those_of_the_model(
    wrap, net, data, crossentropy
):
    wrapper = wrap(net())
    wrapper.compile("sgd", crossentropy, metrics=["accuracy"])
    history = fit(wrapper, data, validation_data=data)
    wrapper.base.compile("sgd", crossentropy, metrics=["accuracy"])
    expected = wrapper.base.evaluate(*data, verbose=0, return_dict=True)
    measured = wrapper.evaluate(*data, verbose=0, return_dict=True)
    assert measured == pytest.approx(expected, rel=1e-5)
    validated = {k: v[-1] for k, v in history.items() if "val_" in k}
    assert validated == pytest.approx(
        {f"val_{key}": value for key, value in expected.items()}, rel=1e-5
    )
    x = data[0]
    np.testing.assert_array_equal(
        wrapper.predict(x, verbose=0), wrapper.base.predict(x, verbose=0)
    )
    assert wrapper.evaluate(*data, verbose=0) == pytest.approx(
        [expected["loss"], expected["accuracy"]], rel=1e-5
    )


@each_wrapper
def test_training_accuracy_is_that_of_the_main_output(
    wrap, net, data, crossentropy
):
    wrapper = wrap(net())
    wrapper.compile("sgd", crossentropy, metrics=["accuracy"])
    before = wrapper.evaluate(*data, verbose=0)[1]
    measured = fit(wrapper, data, batch_size=32)
    assert measured["accuracy"] == [pytest.approx(before)]


@each_wrapper
def test_a_saved_wrapper_continues_the_run(
    wrap, net, data, crossentropy, tmp_path
):
    wrapper = wrap(net())
    wrapper.compile(keras.optimizers.Adam(0.01), crossentropy)
    fit(wrapper, data)
    wrapper.save(tmp_path / "half.keras")
    resumed = keras.models.load_model(tmp_path / "half.keras")
    assert type(resumed) is type(wrapper)
    one, other = (fit(each, data, 2) for each in (wrapper, resumed))
    assert one.keys() == other.keys()
    for key in one:
        np.testing.assert_allclose(one[key], other[key], rtol=1e-5)
    for a, b in zip(
        arrays(wrapper.variables), arrays(resumed.variables), strict=True
    ):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


@each_wrapper
def test_loaded_in_a_fresh_process(
    wrap, net, data, crossentropy, fresh_process
):
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder)
        wrapper = wrap(net())
        wrapper.compile("adam", crossentropy)
        fit(wrapper, data)
        wrapper.save(path / "w.keras")
        wrapper.plain().save(path / "base.keras")
        np.savez(path / "data.npz", *data)
        code = f"""
import keras, numpy as np
x, y = np.load({str(path / "data.npz")!r}).values()
base = keras.models.load_model({str(path / "base.keras")!r})
import tfdeep
wrapper = keras.models.load_model({str(path / "w.keras")!r})
loss = wrapper.fit(x, y, batch_size=8, shuffle=False, verbose=0).history["loss"]
print(loss[0], float(np.sum(base.predict(x, verbose=0) ** 2)))
"""
        expected = float(np.sum(wrapper.predict(data[0], verbose=0) ** 2))
        (loss,) = fit(wrapper, data)["loss"]
        printed = [float(n) for n in fresh_process(code).split()]
    assert printed == pytest.approx([loss, expected], rel=1e-5)


@each_wrapper
@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_half_precision_trains(wrap, net, data, crossentropy, policy):
    keras.config.set_dtype_policy(policy)
    wrapper = wrap(net())
    wrapper.compile(keras.optimizers.Adam(0.01), crossentropy)
    before = arrays(wrapper.trainable_variables)
    history = fit(wrapper, data, 2)
    assert np.isfinite(history["loss"]).all()
    assert {v.dtype for v in wrapper.trainable_variables} == {"float32"}
    after = arrays(wrapper.trainable_variables)
    unmoved = [
        v.path
        for v, a, b in zip(
            wrapper.trainable_variables, before, after, strict=True
        )
        if np.array_equal(a, b)
    ]
    assert unmoved == []
    if policy == "mixed_float16":
        scaled = keras.optimizers.LossScaleOptimizer
        assert isinstance(wrapper.optimizer, scaled)


@each_wrapper
def test_gradients_are_accumulated(wrap, net, data, crossentropy):
    """Two half-batches make the step of their mean gradient."""
    wrapper = wrap(net())
    wrapper.compile(
        keras.optimizers.SGD(0.1, gradient_accumulation_steps=2), crossentropy
    )
    start = arrays(wrapper.trainable_variables)
    fit(wrapper, data, batch_size=16)
    moved = arrays(wrapper.trainable_variables)
    steps = []
    for half in (slice(0, 16), slice(16, 32)):
        twin = wrap(net())
        twin.compile(keras.optimizers.SGD(0.1), crossentropy)
        twin.train_on_batch(*(array[half] for array in data))
        steps.append(arrays(twin.trainable_variables))
    for old, new, one, other in zip(start, moved, *steps, strict=True):
        expected = ((one - old) + (other - old)) / 2
        np.testing.assert_allclose(new - old, expected, rtol=1e-4, atol=1e-6)


@each_wrapper
@pytest.mark.parametrize("jit_compile", [False, True])
def test_models_of_ours_train(wrap, jit_compile):
    """Skipped branches, undone blocks, dense blocks with recomputation."""
    if BACKEND == "jax" and not jit_compile:
        pytest.skip("Keras on JAX would run operation by operation.")
    inputs = keras.Input((6, 6, 4))
    x = tfdeep.layers.BasicBlock(
        4, survival_probability=0.5, seed=1, name="hidden_0"
    )(inputs)
    blocks = [layers.Conv2D(4, 3, padding="same") for _ in range(2)]
    x = tfdeep.layers.ReversibleStack(blocks)(x)
    x = tfdeep.layers.DenseBlock(2, 2, recompute=True, seed=1, name="hidden_1")(
        x
    )
    x = layers.ReLU(name="hidden_2")(x)
    x = layers.GlobalAveragePooling2D()(x)
    wrapper = wrap(keras.Model(inputs, layers.Dense(3)(x)))
    wrapper.compile("adam", "mse", jit_compile=jit_compile)
    random = np.random.default_rng(0)
    images = random.normal(size=(8, 6, 6, 4)).astype("float32")
    history = fit(wrapper, (images, random.normal(size=(8, 3))), 2)
    assert np.isfinite(history["loss"]).all()


@each_wrapper
def test_losses_that_layers_add_count(wrap, net, data, crossentropy):
    """What a layer adds, within the model, is part of the loss, once."""
    losses = []
    for strength in (0.0, 0.5):
        model = net()
        x = layers.ActivityRegularization(l2=strength)(model.layers[0].output)
        for layer in model.layers[1:]:
            x = layer(x)
        wrapper = wrap(keras.Model(model.inputs[0], x))
        wrapper.compile(keras.optimizers.SGD(0.0), crossentropy)
        losses.append(fit(wrapper, data, batch_size=32)["loss"][0])
        low = wrapper.plain().layers[1](data[0])
        added = 0.5 * float(np.sum(arrays([low])[0] ** 2)) / 32
    assert losses[1] - losses[0] == pytest.approx(added, rel=1e-4)


@each_wrapper
@pytest.mark.parametrize("jit_compile", [False, True])
def test_stacked_copies_and_normalization_train(wrap, jit_compile, data):
    """Repeat, batch normalization and dropout, with statistics that move."""
    if BACKEND == "jax" and not jit_compile:
        pytest.skip("Keras on JAX would run operation by operation.")
    x = inputs = keras.Input((8,))
    x = layers.Dense(6, "relu", name="hidden_0")(x)
    x = layers.Dropout(0.2, seed=1)(x)
    block = layers.Dense(6, "relu")
    x = tfdeep.layers.Repeat(block, 4, name="hidden_1")(x)
    x = layers.BatchNormalization(name="norm")(x)
    x = layers.Dense(6, "relu", name="hidden_2")(x)
    wrapper = wrap(keras.Model(inputs, layers.Dense(3)(x)))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    wrapper.compile(keras.optimizers.SGD(0.01), loss, jit_compile=jit_compile)
    before = arrays(wrapper.trainable_variables)
    history = fit(wrapper, data, 2)
    assert np.isfinite(history["loss"]).all()
    after = arrays(wrapper.trainable_variables)
    moved = [
        not np.array_equal(a, b) for a, b in zip(before, after, strict=True)
    ]
    assert all(moved)
    assert np.abs(
        arrays([wrapper.plain().get_layer("norm").moving_mean])[0]
    ).max()


@each_wrapper
def test_structured_inputs_and_outputs(wrap):
    inputs = {
        name: keras.Input((size,), name=name)
        for name, size in (("a", 3), ("b", 2))
    }
    x = layers.Concatenate()([inputs["a"], inputs["b"]])
    for index in range(3):
        x = layers.Dense(4, "tanh", name=f"hidden_{index}")(x)
    outputs = {"u": layers.Dense(1)(x), "v": layers.Dense(3)(x)}
    try:
        wrapper = wrap(keras.Model(inputs, outputs))
    except ValueError as error:
        assert "several outputs" in str(error)
        return
    wrapper.compile("sgd", {"u": "mse", "v": "mse"})
    random = np.random.default_rng(0)
    x = {"a": random.normal(size=(8, 3)), "b": random.normal(size=(8, 2))}
    y = {"u": random.normal(size=(8, 1)), "v": random.normal(size=(8, 3))}
    history = fit(wrapper, (x, y))
    assert np.isfinite(history["loss"]).all()


@each_wrapper
def test_only_models_are_wrapped(wrap):
    with pytest.raises(TypeError, match="wraps a keras.Model"):
        wrap(layers.Dense(3))


@each_wrapper
def test_callbacks_see_the_logs_of_the_epoch(wrap, net, data, crossentropy):
    class Seen(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.keys = set(logs)

    seen, wrapper = Seen(), wrap(net())
    wrapper.compile("sgd", crossentropy)
    history = fit(wrapper, data, callbacks=[seen], validation_data=data)
    assert seen.keys == set(history) and "task_loss" in seen.keys


@each_wrapper
@pytest.mark.parametrize("name", ["hidden_1", "out"])
def test_a_nan_names_the_layer_where_it_began(
    wrap, name, net, data, crossentropy
):
    """One with a head or an entropy, or one that has neither."""
    model = net(activation="tanh")
    kernel = model.get_layer(name).kernel
    kernel.assign(np.full(kernel.shape, np.nan))
    wrapper = wrap(model)
    wrapper.compile("sgd", crossentropy)
    with pytest.raises(FloatingPointError, match=f"not finite is '{name}'"):
        fit(wrapper, data)


@each_wrapper
def test_a_nan_in_half_precision_is_a_warning(wrap, net, data, crossentropy):
    """Scaling of the loss skips the step; the layer is named all the same."""
    keras.config.set_dtype_policy("mixed_float16")
    model = net(activation="tanh")
    kernel = model.get_layer("hidden_1").kernel
    kernel.assign(np.full(kernel.shape, np.nan))
    wrapper = wrap(model)
    wrapper.compile("sgd", crossentropy)
    with pytest.warns(RuntimeWarning, match="not finite is 'hidden_1'"):
        fit(wrapper, data)


def test_a_nan_of_the_loss_itself_and_the_next_one(net, data, crossentropy):
    """What was noted in one training does not count in the next."""
    wrapper = WRAPPERS["supervision"](net(activation="tanh"))
    start = arrays(wrapper.trainable_variables)
    wrapper.compile("sgd", lambda y, scores: np.inf * crossentropy(y, scores))
    with pytest.raises(FloatingPointError, match="not finite is 'the loss'"):
        fit(wrapper, data)
    for weight, value in zip(wrapper.trainable_variables, start, strict=True):
        weight.assign(value)
    assert wrapper.origin_of_nan() == "the loss"
    kernel = wrapper.base.get_layer("hidden_1").kernel
    kernel.assign(np.full(kernel.shape, np.nan))
    wrapper.compile("sgd", crossentropy)
    with pytest.raises(FloatingPointError, match="not finite is 'hidden_1'"):
        fit(wrapper, data)
