"""Meanwhile nothing is random, and afterwards everything is as it was."""

import keras
import numpy as np
import pytest
from keras import layers

import tfdeep
from tests.helpers import arrays, images
from tests.initializers.grad_init.nets import LOGITS, labelled, mlp, quick
from tests.initializers.unchanged import unchanged
from tfdeep.initializers.scaled_loss import ScaledLoss
from tfdeep.initializers.without_noise import without_noise


def noisy_net():
    """Every kind of noise, and batch normalization."""
    x = inputs = keras.Input((3, 8))
    x = layers.SpatialDropout1D(0.4)(x)
    x = layers.Conv1D(8, 3, padding="same")(x)
    x = layers.BatchNormalization()(x)
    x = layers.GaussianNoise(0.5)(x)
    x = layers.AlphaDropout(0.3)(x)
    x = layers.MultiHeadAttention(2, 4, dropout=0.3)(x, x)
    x = layers.Attention(dropout=0.3)([x, x])
    x = layers.LSTM(
        5, dropout=0.3, recurrent_dropout=0.3, return_sequences=True
    )(x)
    x = tfdeep.layers.DropPath(0.4)(x)
    branch = keras.Sequential([layers.Dense(5), layers.Dropout(0.5)])
    x = x + tfdeep.StochasticDepth(branch, 0.5)(x)
    x = layers.GaussianDropout(0.3)(layers.Flatten()(x))
    model = keras.Model(inputs, layers.Dense(3)(x))
    model.compile(keras.optimizers.Adam(0.01), LOGITS, run_eagerly=True)
    return model


def quiet_loss(model, x, y):
    with without_noise(model):
        scaled = ScaledLoss(model)
        return float(scaled(scaled.weights, scaled.state, (x, y, None)))


def test_dropout_is_off_while_batch_normalization_trains():
    """Other seeds, the same loss; other statistics, the same loss."""
    model = noisy_net()
    x, y = images(8, 3, 8), np.arange(8) % 3
    seeds = [v for v in model.non_trainable_variables if "seed" in v.path]
    assert len(seeds) >= 7
    configs = [layer.get_config() for layer in model.layers]
    first = quiet_loss(model, x, y)
    assert quiet_loss(model, x, y) == first
    for variable in seeds:
        variable.assign(variable.value + 7)
    norm = next(
        layer
        for layer in model.layers
        if isinstance(layer, layers.BatchNormalization)
    )
    norm.moving_mean.assign(norm.moving_mean.value + 5.0)
    assert quiet_loss(model, x, y) == first
    assert [layer.get_config() for layer in model.layers] == configs
    noisy = [float(LOGITS(y, model(x, training=True))) for _ in range(2)]
    assert noisy[0] != noisy[1]


NOISE = {
    "Dropout": lambda x: layers.Dropout(0.4)(x),
    "SpatialDropout1D": lambda x: layers.SpatialDropout1D(0.4)(x),
    "GaussianNoise": lambda x: layers.GaussianNoise(0.5)(x),
    "GaussianDropout": lambda x: layers.GaussianDropout(0.3)(x),
    "AlphaDropout": lambda x: layers.AlphaDropout(0.3)(x),
    "LSTM": lambda x: layers.LSTM(8, dropout=0.3)(x),
    "GRU": lambda x: layers.GRU(8, recurrent_dropout=0.3)(x),
    "MultiHeadAttention": lambda x: layers.MultiHeadAttention(
        2, 4, dropout=0.3
    )(x, x),
    "Attention": lambda x: layers.Attention(dropout=0.3)([x, x]),
    "DropPath": lambda x: tfdeep.layers.DropPath(0.4)(x),
    "StochasticDepth": lambda x: tfdeep.StochasticDepth(layers.Dense(8), 0.5)(
        x
    ),
}


@pytest.mark.parametrize("kind", NOISE)
def test_each_kind_of_noise_is_off(kind):
    """Calls in training are alike meanwhile, and differ before and after."""
    inputs = keras.Input((3, 8))
    model = keras.Model(inputs, NOISE[kind](inputs))
    x = images(8, 3, 8)

    def differ():
        first, *others = arrays([model(x, training=True) for _ in range(8)])
        return any(np.any(first != other) for other in others)

    assert differ()
    with without_noise(model):
        assert not differ()
    assert differ()


def test_nothing_but_the_scaled_weights_moves(eager):
    """Each is its old value times its scale; state and optimizer stay."""
    model = noisy_net()
    x, y = images(8, 3, 8), np.arange(8) % 3
    model.train_on_batch(x, y)
    state = [*model.non_trainable_variables, *model.optimizer.variables]
    values = arrays(state)
    loss, optimizer = model.loss, model.optimizer
    before = arrays(model.weights)
    init = quick(1, seed=0)
    init.initialize_model(model, (x, y), batch_size=8)
    assert model.loss is loss and model.optimizer is optimizer
    for old, new in zip(values, arrays(state), strict=True):
        np.testing.assert_array_equal(old, new)
    paths = [v.path for v in model.weights]
    for path, old, new in zip(
        paths, before, arrays(model.weights), strict=True
    ):
        scale = np.float32(init.scales.get(path, 1.0))
        np.testing.assert_array_equal(new, old * scale)
    assert len(init.scales) > 10


def test_weight_penalties_are_left_out_and_come_back(eager):
    """Scales are those of the same model without them."""
    model = mlp(kernel_regularizer=keras.regularizers.L2(10.0))
    plain = mlp()
    plain.set_weights(model.get_weights())
    for each in (model, plain):
        quick(2).initialize_model(each, [labelled()])
    np.testing.assert_array_equal(
        model.get_weights()[0], plain.get_weights()[0]
    )
    assert len(model.losses) == 1


def test_noise_comes_back_after_an_error():
    """Whatever stops it."""
    model = keras.Sequential(
        [keras.Input((4,)), layers.Dropout(0.3), layers.Dense(3)]
    )
    data = [(images(8, 4), images(8, 9))]
    with unchanged(model), pytest.raises(ValueError, match="labels"):
        quick().initialize_model(model, data, LOGITS)
    assert model.layers[0].rate == 0.3
