"""The monitor: entropies of any model, in logs and pictures, guests only."""

import keras
import numpy as np
import pytest
from keras import layers

from tests.training.harness import EAGER
from tfdeep.callbacks import BatchEntropyMonitor
from tfdeep.layers import BatchEntropy, Repeat, batch_entropy
from tfdeep.training import BatchEntropyRegularizer

X = np.random.default_rng(0).normal(size=(16, 4)).astype("float32")
Y = X[:, :1]


def chain(dead=False):
    """Two hidden layers, the second of which may return zeros."""
    zeros = {"kernel_initializer": "zeros"} if dead else {}
    return keras.Sequential(
        [
            keras.Input((4,)),
            layers.Dense(5, "relu", name="first"),
            layers.Dropout(0.5, seed=0),
            layers.Dense(5, "relu", name="second", **zeros),
            layers.Dense(1),
        ]
    )


def watch(model, data=X, epochs=2, callbacks=(), **settings):
    monitor = BatchEntropyMonitor(data, **settings)
    model.compile("sgd", "mse", **EAGER)
    fitted = model.fit(
        X, Y, epochs=epochs, verbose=0, callbacks=[monitor, *callbacks]
    )
    return monitor, fitted.history


def test_entropies_are_those_of_the_layers_at_inference():
    model = chain()
    monitor, history = watch(model)
    first = model.layers[0](X)
    expected = [batch_entropy(first), batch_entropy(model.layers[2](first))]
    assert monitor.names == ["first", "second"]
    assert monitor.entropies.shape == (2, 2)
    np.testing.assert_allclose(monitor.entropies[-1], expected, rtol=1e-5)
    assert history["entropy"][-1] == pytest.approx(np.mean(expected))
    for name, column in zip(monitor.names, monitor.entropies.T, strict=True):
        np.testing.assert_allclose(history[f"entropy/{name}"], column)


def test_training_is_not_changed():
    weights = []
    for watched in (False, True):
        keras.utils.set_random_seed(1)
        model = chain()
        model.compile("sgd", "mse", **EAGER)
        callbacks = [BatchEntropyMonitor(X)] if watched else []
        model.fit(X, Y, epochs=2, verbose=0, callbacks=callbacks)
        weights.append(model.get_weights())
    for with_it, without in zip(*weights, strict=True):
        np.testing.assert_array_equal(with_it, without)


def test_the_first_dead_layer_is_named(capsys):
    monitor, _ = watch(chain(dead=True), epochs=3)
    assert monitor.dead == "second"
    printed = capsys.readouterr().out
    assert printed == "Epoch 1: nothing flows past layer 2, 'second'.\n"


def test_it_is_silent_when_asked_to_be_or_all_is_well(capsys):
    assert watch(chain(dead=True), verbose=0)[0].dead == "second"
    assert watch(chain())[0].dead is None
    assert capsys.readouterr().out == ""


def test_a_wrapped_model_is_seen_through():
    monitor, history = watch(BatchEntropyRegularizer(chain()))
    assert monitor.names == ["first", "second"]
    assert {"entropy/first", "batch_entropy/first"} <= set(history)


class HandWritten(keras.Model):
    """No symbol passes this model."""

    def __init__(self):
        super().__init__()
        self.hidden = layers.Dense(3, "relu")
        self.probe = BatchEntropy(name="probe")
        self.last = layers.Dense(1)

    def call(self, inputs):
        x = self.hidden(inputs)
        return self.last(self.probe(x))


def test_layers_of_a_hand_written_model_report():
    model = HandWritten()
    monitor, _ = watch(model)
    assert monitor.names == ["probe"]
    expected = float(batch_entropy(model.hidden(X)))
    assert monitor.entropies[-1, 0] == pytest.approx(expected, rel=1e-5)


def test_a_layer_in_a_loop_is_refused_before_the_first_step():
    block = keras.Sequential(
        [keras.Input((4,)), layers.Dense(4), BatchEntropy(name="probe")]
    )
    model = keras.Sequential(
        [keras.Input((4,)), Repeat(block, 2), layers.Dense(1)]
    )
    with pytest.raises(ValueError, match="'probe' must.*run as one loop"):
        watch(model)
    assert int(model.optimizer.iterations.numpy()) == 0


def test_the_first_samples_are_used():
    model = chain()
    monitor, _ = watch(model, samples=6)
    expected = float(batch_entropy(model.layers[0](X[:6])))
    assert monitor.entropies[-1, 0] == pytest.approx(expected, rel=1e-5)


def test_the_first_batch_of_a_data_set_is_used():
    model = chain()
    monitor, _ = watch(model, [(X[:8], Y[:8]), (X[8:], Y[8:])])
    expected = float(batch_entropy(model.layers[0](X[:8])))
    assert monitor.entropies[-1, 0] == pytest.approx(expected, rel=1e-5)


@pytest.mark.tensorflow
def test_tensorboard_gets_the_entropies(tmp_path):
    import tensorflow as tf

    pytest.importorskip("tensorboard")
    board = keras.callbacks.TensorBoard(str(tmp_path), write_graph=False)
    watch(chain(), callbacks=[board])
    (events,) = (tmp_path / "train").glob("events*")
    tags = {
        value.tag
        for event in tf.compat.v1.train.summary_iterator(str(events))
        for value in event.summary.value
    }
    assert {"epoch_entropy", "epoch_entropy/second"} <= tags


def test_the_heat_map_shows_the_entropies(tmp_path):
    pytest.importorskip("matplotlib")
    monitor, _ = watch(chain())
    figure = monitor.plot(tmp_path / "entropy.png")
    (image,) = figure.axes[0].images
    np.testing.assert_allclose(image.get_array(), monitor.entropies.T)
    assert (tmp_path / "entropy.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("data, samples", [(X[:1], 256), (X, 1)])
def test_a_batch_of_one_is_refused(data, samples):
    with pytest.raises(ValueError, match="must have two samples"):
        BatchEntropyMonitor(data, samples=samples)


def test_an_unknown_layer_is_refused_before_the_first_step():
    model = chain()
    with pytest.raises(ValueError, match="Did you mean 'first'"):
        watch(model, layers=["frist"])
    assert int(model.optimizer.iterations.numpy()) == 0


def test_data_of_another_shape_are_refused_before_the_first_step():
    model = chain()
    start = model.get_weights()
    with pytest.raises(ValueError, match=r"found shape=\(16, 3\)"):
        watch(model, X[:, :3])
    for old, new in zip(start, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
