"""Which models and losses GradInit takes, and what it scales of them."""

import keras
import numpy as np
import pytest
from keras import layers

from tests.helpers import images
from tests.initializers.grad_init.nets import LOGITS, labelled, mlp, quick
from tests.initializers.unchanged import unchanged


def crossentropy(y, y_pred):
    """One loss for each sample, as a user would write it."""
    return keras.losses.sparse_categorical_crossentropy(
        y, y_pred, from_logits=True
    )


@pytest.mark.parametrize("loss", [None, LOGITS, crossentropy])
def test_first_loss_is_that_of_the_model(loss, eager):
    """Compiled, a Keras loss or a function; with weights of samples or not."""
    model = mlp()
    x, y = labelled(8)
    weights = np.linspace(0.0, 2.0, 8, dtype="float32")
    for batch in ((x, y), (x, y, weights)):
        expected = float(
            LOGITS(y, model(x), sample_weight=batch[2] if batch[2:] else None)
        )
        init = quick(1)
        init.initialize_model(model, [batch], loss)
        assert init.history["loss"][0] == pytest.approx(expected, rel=1e-5)
        assert init.history["scales"][-1] == list(init.scales.values())


def test_a_loss_by_its_name(eager):
    """It is the loss of that name, whatever the model is compiled with."""
    model = mlp()
    x, y = images(8, 4), images(8, 3, seed=1)
    init = quick(1)
    expected = float(np.mean((np.array(model(x)) - y) ** 2))
    init.initialize_model(model, [(x, y)], "mean_squared_error")
    assert init.history["loss"][0] == pytest.approx(expected, rel=1e-5)


def test_frozen_weights_and_zeros_are_skipped(eager):
    """They have no scale and stay."""
    model = mlp()
    model.layers[0].trainable = False
    before = model.get_weights()
    init = quick(1)
    init.initialize_model(model, labelled(), batch_size=8)
    assert list(init.scales) == [model.layers[1].kernel.path]
    after = model.get_weights()
    for index in (0, 1, 3):
        np.testing.assert_array_equal(after[index], before[index])
    assert not np.array_equal(after[2], before[2])


def test_biases_may_go_to_zero_and_kernels_not(eager):
    """Kernels stop at `min_scale`."""
    model = mlp(bias_initializer="ones")
    init = quick(3, scale_learning_rate=5.0, gamma=1e-9, min_scale=0.3)
    init.initialize_model(model, [labelled()])
    for path, scale in init.scales.items():
        assert scale >= (0.0 if "bias" in path else 0.3)
    assert min(init.scales.values()) == 0.0
    assert 0.3 in init.scales.values()


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_an_error_in_the_data_leaves_the_old_weights(error, eager):
    """Weights change at the end or not at all."""

    def batches():
        for _ in range(2):
            yield labelled()
        raise error

    model, init = mlp(), quick(100)
    with unchanged(model), pytest.raises(error):
        init.initialize_model(model, batches())
    assert init.history == {} == init.scales


def test_an_interrupt_while_writing_brings_the_old_weights_back(
    eager, monkeypatch
):
    """Even where some are written already."""
    model = mlp()
    last = model.layers[1].kernel
    assign, calls = last.assign, []

    def interrupted(value):
        calls.append(model.layers[0].kernel.numpy().copy())
        if len(calls) == 1:
            raise KeyboardInterrupt
        return assign(value)

    monkeypatch.setattr(last, "assign", interrupted)
    first = model.layers[0].kernel.numpy().copy()
    with unchanged(model), pytest.raises(KeyboardInterrupt):
        quick(1).initialize_model(model, [labelled()])
    assert np.any(calls[0] != first)


# What is refused, and that nothing moved.


def quantized():
    model = mlp()
    for layer in model.layers:
        layer.quantize("int8")
    return model


def adapted():
    model = mlp()
    model.layers[0].enable_lora(2)
    return model


@pytest.mark.parametrize(
    "make,message",
    [
        (lambda: mlp(dtype="mixed_float16"), "float16.*float32"),
        (lambda: mlp(dtype="mixed_bfloat16"), "bfloat16.*float32"),
        (quantized, "quantized"),
        (adapted, "LoRA"),
        (lambda: mlp(compiled=False), "not compiled"),
    ],
)
def test_models_that_are_refused(make, message):
    """The message says which layer, and what to do."""
    model = make()
    with unchanged(model), pytest.raises(ValueError, match=message):
        quick().initialize_model(model, [labelled()])


def test_a_model_without_weights_to_scale():
    """All are zero, or none is trainable."""
    model = mlp()
    model.set_weights([np.zeros_like(w) for w in model.get_weights()])
    with pytest.raises(ValueError, match="other than zero"):
        quick().initialize_model(model, [labelled()])
    model = mlp()
    model.trainable = False
    with pytest.raises(ValueError, match="other than zero"):
        quick().initialize_model(model, [labelled()])


def test_what_is_no_built_model_with_a_loss():
    """One without weights, a layer, and a model compiled with no loss."""
    model = keras.Sequential([layers.Dense(3)])
    with pytest.raises(ValueError, match="not built.*model.build"):
        quick().initialize_model(model, [labelled()], LOGITS)
    assert not model.built
    with pytest.raises(TypeError, match="keras.Model.*Dense"):
        quick().initialize_model(layers.Dense(3), [labelled()], LOGITS)
    model = mlp(compiled=False)
    model.compile("sgd")
    with pytest.raises(ValueError, match="with no loss"):
        quick().initialize_model(model, [labelled()])


@pytest.mark.parametrize("loss", ["hinge-ish", 3])
def test_a_loss_that_does_not_exist(loss):
    """Neither a name that Keras does not know nor a number."""
    model = mlp()
    with pytest.raises((ValueError, TypeError), match="Received: loss="):
        quick().initialize_model(model, [labelled()], loss)


@pytest.mark.parametrize("explicit", [True, False])
def test_labels_of_the_wrong_shape(explicit):
    """The message has their shape."""
    model = mlp()
    data = images(8, 4), images(8, 5, 2)
    message = r"labels of shape \(4, 5, 2\)"
    with unchanged(model), pytest.raises(ValueError, match=message):
        quick().initialize_model(model, [data], LOGITS if explicit else None)


def test_one_loss_for_several_outputs():
    """A loss that is given is the whole loss."""
    inputs = keras.Input((4,))
    outputs = [layers.Dense(3)(inputs), layers.Dense(1)(inputs)]
    model = keras.Model(inputs, outputs)
    x, y = labelled(8)
    message = "predictions of shape .*does not"
    with unchanged(model), pytest.raises(ValueError, match=message):
        quick().initialize_model(model, [(x, [y, y])], LOGITS)
