"""A stateful layer called as a pure function."""

import keras
import numpy as np

from tests.helpers import arrays, images
from tfdeep import backend


def stateful_layer():
    layer = keras.Sequential(
        [
            keras.layers.Dense(
                3, activity_regularizer=keras.regularizers.L2(0.5)
            ),
            keras.layers.BatchNormalization(),
            keras.layers.Dropout(0.5, seed=0),
        ]
    )
    layer.build((None, 4))
    return layer


def equal(ours, theirs):
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_reads_the_variables_in_order():
    layer = stateful_layer()
    trainable, state = backend.read_variables(layer)
    equal(arrays(trainable), arrays(layer.trainable_variables))
    equal(arrays(state), arrays(layer.non_trainable_variables))
    assert len(trainable) == 4 and len(state) == 3


def test_the_call_has_no_side_effect_and_equals_the_layer():
    layer, x = stateful_layer(), images(5, 4)
    before = arrays(layer.variables)
    values = backend.read_variables(layer)
    y, state, losses = backend.stateless_call(layer, *values, x, training=True)
    equal(arrays(layer.variables), before)

    expected = layer(x, training=True)
    equal(arrays([y]), arrays([expected]))
    equal(arrays(state), arrays(layer.non_trainable_variables))
    equal(arrays(losses), arrays(layer.losses))


def test_given_values_replace_the_weights():
    layer, x = stateful_layer(), images(5, 4)
    trainable, state = backend.read_variables(layer)
    trainable[0] = trainable[0] * 0.0
    y, _, (loss,) = backend.stateless_call(
        layer, trainable, state, x, training=False
    )
    assert not np.any(arrays([y])[0]) and not np.any(arrays([loss])[0])


def test_write_assigns_the_state_alone():
    layer = stateful_layer()
    _, state = backend.read_variables(layer)
    trainable = arrays(layer.trainable_variables)
    new = [value + 1 for value in arrays(state)]
    backend.write_variables(layer, new)
    equal(arrays(layer.non_trainable_variables), new)
    equal(arrays(layer.trainable_variables), trainable)


def test_it_keeps_the_layers_own_precision():
    layer = keras.layers.Dense(1, dtype="mixed_bfloat16")
    layer.build((None, 4))
    y, _, _ = backend.stateless_call(
        layer, *backend.read_variables(layer), images(5, 4)
    )
    assert keras.backend.standardize_dtype(y.dtype) == "bfloat16"
