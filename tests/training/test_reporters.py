"""Where `BatchEntropy` layers within others can be heard, and where not."""

import keras
import numpy as np
import pytest
from keras import layers

import tfdeep
from tests.helpers import BACKEND
from tests.training.harness import EAGER, GRAPH, fit, logs_of
from tfdeep.layers import BatchEntropy, batch_entropy
from tfdeep.training import BatchEntropyRegularizer


def reporting():
    """A block of which the equal copies may stand in a loop."""
    return keras.Sequential(
        [keras.Input((8,)), layers.Dense(8, "tanh"), BatchEntropy(name="probe")]
    )


def around(block):
    """A model of a hidden layer, a block and logits of 3 classes."""
    first = layers.Dense(8, "relu", name="first")
    return keras.Sequential(
        [keras.Input((8,)), first, block, layers.Dense(3, name="out")]
    )


@pytest.mark.parametrize(
    "wrap, message",
    [
        (lambda each: tfdeep.StochasticDepth(each(), 0.5), "may be skipped"),
        (lambda each: tfdeep.layers.Repeat(each(), 3), "a Repeat, whose"),
        (
            lambda each: tfdeep.layers.Repeat(
                tfdeep.layers.Recompute(
                    tfdeep.layers.Repeat(each(), 2, name="inner")
                ),
                2,
            ),
            "a Repeat, whose",
        ),
        (
            lambda each: tfdeep.layers.Recompute(
                tfdeep.layers.Repeat(each(), 2)
            ),
            "a Repeat, whose",
        ),
        (
            lambda each: tfdeep.layers.ReversibleStack([each(), each()]),
            "a ReversibleStack, whose equal blocks",
        ),
        (
            lambda each: tfdeep.layers.ReversibleStack(
                [each(), each()], recompute=False
            ),
            "a ReversibleStack, whose equal blocks",
        ),
    ],
)
def test_where_a_layer_cannot_report(wrap, message):
    """It is named at once, rather than left out without a word."""
    with pytest.raises(
        ValueError, match=f"layer 'probe' must not be.*{message}"
    ):
        BatchEntropyRegularizer(around(wrap(reporting)))


def test_layers_that_are_named_need_no_report():
    repeat = tfdeep.layers.Repeat(reporting(), 3)
    wrapper = BatchEntropyRegularizer(around(repeat), ["first"])
    assert wrapper.names == ["first"]


def test_copies_made_plain_report_one_by_one(data, crossentropy):
    stacked = around(tfdeep.layers.Repeat(reporting(), 3, name="copies"))
    wrapper = BatchEntropyRegularizer(tfdeep.models.unstack(stacked))
    wrapper.compile(keras.optimizers.SGD(0.0), crossentropy, **EAGER)
    logs = logs_of(fit(wrapper, data))
    assert len(wrapper.names) == 3
    x, model = data[0], wrapper.base
    for index in range(4):
        x = model.layers[index](x)
    expected = float(batch_entropy(x))  # Of the last copy.
    logged = [logs[f"batch_entropy/{name}"] for name in wrapper.names]
    assert logged[-1] == pytest.approx(expected, rel=1e-5)
    assert len({round(value, 6) for value in logged}) == 3


def test_an_entropy_out_of_a_recomputed_layer_trains_it(data, crossentropy):
    """As one of a plain layer does; JAX cannot, and says so."""

    def model(wrap):
        dense = layers.Dense(
            8, "relu", kernel_initializer=keras.initializers.HeNormal(0)
        )
        inner = keras.Sequential([keras.Input((8,)), dense, BatchEntropy()])
        last = layers.Dense(3, kernel_initializer="zeros")
        return keras.Sequential([keras.Input((8,)), wrap(inner), last]), dense

    def reversible(inner):
        return tfdeep.layers.ReversibleStack([inner])

    kernels = []
    for wrap in (lambda inner: inner, tfdeep.layers.Recompute, reversible):
        net, dense = model(wrap)
        if BACKEND == "jax" and kernels:
            with pytest.raises(ValueError, match="no gradient on JAX"):
                BatchEntropyRegularizer(net)
            continue
        wrapper = BatchEntropyRegularizer(net, beta=5.0)
        wrapper.compile(keras.optimizers.SGD(0.1), crossentropy, **GRAPH)
        fit(wrapper, data)
        kernels.append(dense.kernel.numpy())
    for kernel in kernels[1:]:
        np.testing.assert_allclose(kernel, kernels[0], rtol=1e-5, atol=1e-6)
