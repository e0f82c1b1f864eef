"""Gradients that stop at cuts, and are handed over: sums of masked ones."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from tests.helpers import BACKEND, arrays, close
from tests.training.harness import EAGER, MODES, fit, in_modes, logs_of, step
from tests.training.reaches import CASES, chain, heads, normal
from tfdeep import backend
from tfdeep.keras_internals import layers_of
from tfdeep.layers import BatchEntropy
from tfdeep.training import BatchEntropyRegularizer, Head, RelayBackpropagation

RUNS = [(name, "eager") for name in CASES]
if BACKEND == "tensorflow":
    RUNS += [("over two segments", "graph"), ("norms", "xla")]


def owner(variable):
    """The name of the layer of a variable, the last but one of its path."""
    return variable.path.split("/")[-2]


def taps_of(model, names, x):
    """The outputs of some layers and of the model, each called by hand."""
    names = [*(name.split("/")[-1] for name in names), "out"]
    if any(layer.name == "low" for layer in model.layers):
        found = {layer.name: layer for layer in layers_of(model)}
        outputs, value = {}, x
        for name in ["a", "b", "c", "d", "e", "f", "out"]:
            value = outputs[name] = found[name](value)
        return [outputs[name] for name in names]
    wanted = [model.get_layer(name).output for name in names]
    return keras.Model(model.input, wanted)(x, training=True)


def slow_gradients(wrapper, data, loss):
    """Gradients of each loss alone, by variables: no mask, no cut."""
    x, y = data
    model, variables = wrapper.base, wrapper.trainable_variables
    state = [(v, v.value) for v in wrapper.non_trainable_variables]

    def value(name, tensors):
        mapping = [*zip(variables, tensors, strict=True), *state]
        with keras.StatelessScope(mapping):
            tapped = taps_of(model, wrapper.names, x)
            if name == "output":
                return loss(y, tapped[-1])
            index = wrapper.names.index(name)
            scores = wrapper.head_layers[index](tapped[index])
            hot = ops.convert_to_tensor(2 * np.eye(3, dtype="float32")[y] - 1)
            gap = ops.maximum(1.0 - hot * scores, 0.0)
            alpha = wrapper.current_alphas()[name]
            return alpha * ops.mean(ops.sum(ops.square(gap), -1))

    return {
        name: arrays(
            backend.value_and_gradients(
                lambda tensors, name=name: value(name, tensors),
                [v.value for v in variables],
            )[1]
        )
        for name in ["output", *wrapper.names]
    }


@pytest.mark.parametrize("name, mode", RUNS)
def test_gradients_are_the_masked_sum(name, mode, data, crossentropy):
    """One SGD step at rate 1 is minus the gradient."""
    make, names, arguments, reached = CASES[name]
    wrapper = RelayBackpropagation(
        make(), heads(*names, alpha=0.7), **arguments
    )
    wrapper.compile(keras.optimizers.SGD(1.0), crossentropy, **MODES[mode])
    alone = slow_gradients(wrapper, data, crossentropy)
    assert set(alone) == set(reached)
    inner = {id(v) for v in wrapper.base.trainable_variables}
    _, moved = step(wrapper, data)
    for index, variable in enumerate(wrapper.trainable_variables):
        expected = np.zeros(variable.shape, "float32")
        for loss, layer_names in reached.items():
            # A head's weights are met by its own loss only.
            head = id(variable) not in inner
            if head or owner(variable) in layer_names.split():
                expected = expected + alone[loss][index]
        np.testing.assert_allclose(
            moved[index], expected, 1e-5, 1e-6, err_msg=variable.path
        )


def silent(y, scores):
    """A loss of the output that gives no gradient."""
    return ops.sum(scores * 0.0, -1)


@in_modes("eager", "graph")
def test_what_is_run_again_draws_and_moves_nothing(data, mode):
    """Dropout is drawn once, statistics move once, entropies count once."""

    def make():
        x = inputs = keras.Input((8,))
        for index in range(3):
            x = normal(x, 6, index, f"d{index}")
            x = layers.Dropout(0.5, seed=index, name=f"drop{index}")(x)
            if index == 1:
                x = layers.BatchNormalization()(x)
                x = BatchEntropy(name="entropy")(x)
        return keras.Model(inputs, normal(x, 3, 9, "out", None))

    found = []
    for overlap in (9, 2):
        head = heads("drop2")
        relay = RelayBackpropagation(make(), head, overlap=overlap)
        wrapper = BatchEntropyRegularizer(relay, beta=0.0)
        wrapper.compile(keras.optimizers.SGD(1.0), silent, **mode)
        logs, moved = step(wrapper, data)
        assert "batch_entropy/entropy" in logs
        _, lowest, *_ = moved  # After the alphas of the regularizer.
        assert float(np.abs(lowest).max()) > 1e-4
        state = arrays(relay.base.non_trainable_variables)
        found.append([*logs.values(), *moved, *state])
    close(*found, 1e-5, 1e-6)


@in_modes("eager", "graph")
def test_a_layers_own_backward_pass_is_kept(data, crossentropy, mode):
    """A gradient that is defined, not derived, inside of the overlap."""

    @ops.custom_gradient
    def doubled(x):
        def gradient(*args, upstream=None):
            return 2.0 * (args[0] if upstream is None else upstream)

        return x * 1.0, gradient

    class Doubled(layers.Layer):
        def call(self, x):
            return doubled(x)

    def make(layer):
        x = inputs = keras.Input((8,))
        for index in range(4):
            x = normal(x, 6, index, f"d{index}")
            x = layer(x) if index == 1 else x
        return keras.Model(inputs, normal(x, 3, 9, "out", None))

    moves = []
    for layer in (Doubled(), layers.Identity()):
        head = {"d2": Head(layers.Dense(3, kernel_initializer="ones"))}
        wrapper = RelayBackpropagation(make(layer), head, overlap=2)
        wrapper.compile(keras.optimizers.SGD(1.0), crossentropy, **mode)
        moves.append(step(wrapper, data)[1])
    doubled_ones = [2.0 * change for change in moves[1][:4]]
    close(moves[0], [*doubled_ones, *moves[1][4:]], 1e-4, 1e-5)


@pytest.mark.parametrize("overlap", [0, 1, 3])
def test_small_gradients_survive_half_precision(data, crossentropy, overlap):
    """The direction of a step in float16 is that of float32."""
    moves = []
    for policy in ("mixed_float16", "float32"):
        keras.config.set_dtype_policy(policy)
        wrapper = RelayBackpropagation(
            chain(), heads("d3", alpha=1e-6), overlap=overlap
        )
        wrapper.compile(keras.optimizers.SGD(1e6), crossentropy, **EAGER)
        moves.append(step(wrapper, data)[1][0])
    ours, theirs = moves
    assert np.linalg.norm(ours - theirs) < 0.02 * np.linalg.norm(theirs)


def test_what_is_handed_over_is_not_part_of_the_loss(net, data, crossentropy):
    """A gradient that is not finite makes no NaN of a loss that is."""
    keras.config.set_dtype_policy("mixed_float16")
    head = Head(loss=lambda y, scores: ops.sum(ops.sqrt(0 * scores), -1))
    wrapper = RelayBackpropagation(net(), {"hidden_1": head})
    start = arrays(wrapper.trainable_variables)
    wrapper.compile("sgd", crossentropy, **EAGER)
    logs = logs_of(fit(wrapper, data))
    assert logs["loss"] == logs["task_loss"]
    # The step is skipped.
    close(arrays(wrapper.trainable_variables), start, 0, 0)


def test_masks_pass_a_cut(data):
    """What a layer below hides from those above stays hidden."""
    inputs = x = keras.Input((4, 8))
    x = layers.Masking()(x)
    for name in ("low", "mid", "high"):
        x = layers.Dense(3, "tanh", name=name)(x)
    x = layers.Dense(3)(layers.GlobalAveragePooling1D()(x))
    head = Head(layers.GlobalAveragePooling1D(), loss="mse")
    wrapper = RelayBackpropagation(keras.Model(inputs, x), {"mid": head})
    wrapper.compile(keras.optimizers.SGD(0.0), "mse", **EAGER)
    x = data[0].reshape(8, 4, 8) * (np.arange(4) > 0)[:, None]
    y = np.ones((8, 3), "float32")
    logs = logs_of(fit(wrapper, (x, y)))
    expected = wrapper.evaluate(x, y, verbose=0)
    assert logs["task_loss"] == pytest.approx(expected, rel=1e-5)
