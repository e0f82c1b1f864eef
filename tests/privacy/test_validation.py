"""A trial finds what no rule knows, and batch norm can be replaced."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from tests.helpers import close
from tests.privacy.layers_that_mix import Mixes
from tfdeep import privacy
from tfdeep.privacy import NotPrivateError, PrivateModel
from tfdeep.privacy.per_example import isolation


def test_a_trial_finds_what_no_rule_knows(private, data, monkeypatch):
    batch = [each[:3] for each in data]
    privacy.validate(private(Mixes()), batch)
    # As if the table had been wrong.
    for name in ("has_line", "is_genuine"):
        monkeypatch.setattr(isolation, name, lambda thing: True)
    with pytest.warns(UserWarning, match="differ, taken layer by layer"):
        privacy.validate(private(Mixes()), batch)
    unchecked = private(Mixes())
    unchecked._private.checked = True  # As if that had not been seen.
    with pytest.raises(NotPrivateError, match="Example 0 was exchanged"):
        privacy.validate(unchecked, batch)
    privacy.validate(private(Mixes(), method="vectorized"), batch)
    privacy.validate(private(layers.Dropout(0.5, seed=1)), batch)


def test_what_cannot_be_tried(private, data):
    with pytest.raises(ValueError, match="two examples or more"):
        privacy.validate(private(), [each[:1] for each in data])
    plain = keras.Sequential([keras.Input((8,)), layers.Dense(3)])
    with pytest.raises(ValueError, match="compiled PrivateModel"):
        privacy.validate(plain, data)
    privacy.validate(plain)
    plain.add(layers.BatchNormalization())
    with pytest.raises(NotPrivateError, match="GroupNormalization"):
        privacy.validate(plain)


def test_replacing_batch_norm():
    inputs = keras.Input((6, 6, 3))
    x = layers.Conv2D(12, 3)(inputs)
    x = layers.BatchNormalization(epsilon=1e-4)(x)
    outputs = layers.Dense(3)(layers.Flatten()(x))
    model = keras.Model(inputs, outputs)
    model.layers[2].gamma.assign(np.arange(12) + 1.0)
    model.layers[2].beta.assign(np.arange(12) - 1.0)
    new = privacy.replace_batch_norm(model, groups=5)
    norm = new.layers[2]
    assert type(norm) is layers.GroupNormalization
    assert norm.groups == 4 and norm.epsilon == 1e-4
    close([norm.gamma.numpy()], [np.arange(12) + 1.0])
    close([norm.beta.numpy()], [np.arange(12) - 1.0])
    close(new.layers[1].get_weights(), model.layers[1].get_weights())
    PrivateModel(new)


def test_batch_norm_in_code_cannot_be_replaced():
    class ByHand(keras.Model):
        def call(self, x):
            return x

    with pytest.raises(ValueError, match="hand-written"):
        privacy.replace_batch_norm(ByHand())


def test_replacing_keeps_operations_penalties_and_what_is_frozen():
    inputs = keras.Input((6,))
    low = layers.Dense(8, name="low")(inputs)
    x = layers.BatchNormalization(
        gamma_regularizer=keras.regularizers.L2(0.1), name="norm"
    )(low)
    x = ops.relu(x + low)[:, 2:]
    model = keras.Model(inputs, layers.Dense(3, name="last")(x))
    model.get_layer("low").trainable = False
    new = privacy.replace_batch_norm(model, groups=4)
    assert new.get_layer("norm").groups == 4
    assert float(new.losses[0]) == pytest.approx(0.8)
    trained = [weight.path for weight in new.trainable_weights]
    assert sorted({path.partition("/")[0] for path in trained}) == [
        "last",
        "norm",
    ]
    assert new(np.ones((2, 6))).shape == (2, 3)
    model.trainable = False
    frozen = privacy.replace_batch_norm(model)
    assert not frozen.trainable_weights
