"""What `fit` watches: where a NaN began, and batches of a single sample."""

import keras
import numpy as np
import pytest

from tests.helpers import arrays
from tests.training.harness import (
    EAGER,
    GRAPH,
    SINGLE,
    each_wrapper,
    fit,
    logs_of,
)
from tfdeep.training import BatchEntropyRegularizer


def spoil(layer):
    layer.kernel.assign(np.full(layer.kernel.shape, np.nan))


@pytest.mark.parametrize(
    "kind, name",
    [
        ("entropy", "hidden_1"),
        ("supervision", "hidden_1"),
        ("relay", "hidden_1"),
        ("supervision", "out"),
        ("relay", "out"),
    ],
)
def test_a_nan_names_the_layer_where_it_began(
    kind, name, net, data, crossentropy
):
    """One with a head or an entropy, or one that has neither."""
    model = net(activation="tanh")
    spoil(model.get_layer(name))
    wrapper = SINGLE[kind](model)
    wrapper.compile("sgd", crossentropy, **EAGER)
    with pytest.raises(FloatingPointError, match=f"not finite is '{name}'"):
        fit(wrapper, data)


@each_wrapper
def test_a_nan_in_half_precision_is_a_warning(wrap, net, data, crossentropy):
    """Scaling of the loss skips the step; the layer is named all the same."""
    keras.config.set_dtype_policy("mixed_float16")
    model = net(activation="tanh")
    spoil(model.get_layer("hidden_1"))
    wrapper = wrap(model)
    wrapper.compile("sgd", crossentropy, **EAGER)
    with pytest.warns(RuntimeWarning, match="not finite is 'hidden_1'"):
        fit(wrapper, data)


def test_a_nan_of_the_loss_itself_and_the_next_one(net, data, crossentropy):
    """What was noted in one training does not count in the next."""
    wrapper = SINGLE["supervision"](net(activation="tanh"))
    start = arrays(wrapper.trainable_variables)
    wrapper.compile(
        "sgd", lambda y, scores: np.inf * crossentropy(y, scores), **GRAPH
    )
    with pytest.raises(FloatingPointError, match="not finite is 'the loss'"):
        fit(wrapper, data)
    for weight, value in zip(wrapper.trainable_variables, start, strict=True):
        weight.assign(value)
    assert wrapper.origin_of_nan() == "the loss"
    spoil(wrapper.base.get_layer("hidden_1"))
    wrapper.compile("sgd", crossentropy, **GRAPH)
    with pytest.raises(FloatingPointError, match="not finite is 'hidden_1'"):
        fit(wrapper, data)


def test_the_first_of_a_run_is_named(net, data, crossentropy):
    """The layer of the first bad batch, in the words of its epoch."""
    model = net(activation="tanh")
    wrapper = SINGLE["supervision"](model)
    wrapper.compile(keras.optimizers.SGD(0.0), crossentropy, **EAGER)

    class Spoil(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if self.model.origin_of_nan() == "hidden_2":
                spoil(model.get_layer("hidden_0"))

        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 1:
                spoil(model.get_layer("hidden_2"))

    message = "infinite in epoch 2. The first that was not finite is 'hidden_2"
    with pytest.raises(FloatingPointError, match=message):
        fit(wrapper, data, 3, batch_size=8, callbacks=[Spoil()])


@pytest.mark.parametrize(
    "samples, arguments",
    [
        (8, {"batch_size": 1}),
        (9, {"batch_size": 4}),
        (1, {}),
        (12, {"batch_size": 4, "validation_split": 0.25}),
    ],
)
def test_a_batch_of_one_is_refused_before_the_first_step(
    net, data, crossentropy, samples, arguments
):
    wrapper = BatchEntropyRegularizer(net())
    wrapper.compile("sgd", crossentropy)
    x, y = (array[:samples] for array in data)
    with pytest.raises(ValueError, match="a batch of 1"):
        wrapper.fit(x, y, verbose=0, **arguments)
    assert int(wrapper.optimizer.iterations.numpy()) == 0


class Stream(keras.utils.PyDataset):
    """Batches of these sizes; nobody knows them beforehand."""

    def __init__(self, data, sizes):
        super().__init__()
        self.data, self.sizes = data, sizes

    def __len__(self):
        return len(self.sizes)

    def __getitem__(self, index):
        return tuple(array[: self.sizes[index]] for array in self.data)


def test_a_left_over_in_a_stream_is_trained_without(net, data, crossentropy):
    """It makes the plain step, and counts in no mean of entropies."""
    wrapper = BatchEntropyRegularizer(net(), beta=2.0)
    wrapper.compile(keras.optimizers.SGD(0.0), crossentropy, **GRAPH)
    stream = Stream(data, [4, 1])
    logs = logs_of(wrapper.fit(stream, shuffle=False, verbose=0).history)
    four, one = ([array[:n] for array in data] for n in (4, 1))
    alone = logs_of(fit(wrapper, four))
    assert logs["batch_entropy"] == pytest.approx(alone["batch_entropy"])
    task = float(crossentropy(one[1], wrapper.base(one[0])))
    mean = (4 * alone["loss"] + task) / 5
    assert logs["loss"] == pytest.approx(mean, rel=1e-5)
    assert all(np.isfinite(w).all() for w in wrapper.get_weights())


def test_a_stream_of_single_samples_ends_at_once(net, data, crossentropy):
    wrapper = BatchEntropyRegularizer(net())
    wrapper.compile("sgd", crossentropy, **GRAPH)
    with pytest.raises(ValueError, match="a (first )?batch of 1"):
        wrapper.fit(Stream(data, [1] * 8), shuffle=False, verbose=0)
    assert int(wrapper.optimizer.iterations.numpy()) <= 1
