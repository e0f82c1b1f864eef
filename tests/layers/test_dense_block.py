"""DenseBlock against a loop that concatenates."""

import keras
import numpy as np
import pytest
from keras import ops

from tests.helpers import (
    arrays,
    close,
    copy_weights,
    drops_everything,
    flat,
    gradients,
    images,
    randomize,
    reference_gradients,
)
from tests.layers import reference as ref
from tfdeep.layers import DenseBlock

SHAPE = (3, 5, 4, 6)


def built(*args, shape=SHAPE, **kwargs):
    block = DenseBlock(*args, data_format="channels_last", **kwargs)
    block.build(shape)
    randomize(block)
    return block


def dense_reference(per_layer):
    """x_l = [x_0, ..., x_{l-1}], then H_l of all of them."""

    def function(x, *weights):
        features = [x]
        for start in range(0, len(weights), per_layer):
            seen = ops.concatenate(features, -1)
            units = weights[start : start + per_layer]
            for i in range(0, per_layer, 3):
                gamma, beta, kernel = units[i : i + 3]
                seen = ref.relu(ref.batch_norm(seen, gamma, beta))
                seen = ref.conv(seen, kernel)
            features.append(seen)
        return ops.concatenate(features, -1)

    return function


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("bottleneck", [False, True])
@pytest.mark.parametrize("num_layers", [1, 3])
def test_values_and_gradients_are_those_of_the_loop(
    num_layers, bottleneck, recompute
):
    block = built(num_layers, 2, bottleneck, recompute=recompute)
    x = images(*SHAPE)
    weights = arrays(block.trainable_variables)
    function = dense_reference(6 if bottleneck else 3)
    expected, by = reference_gradients(function, x, *weights)
    result = flat(gradients(block, x, training=True))
    close(result, [expected, *by], rtol=1e-3, atol=1e-4)
    assert block.compute_output_shape(SHAPE) == expected.shape


@pytest.mark.parametrize("recompute", [False, True])
def test_no_layer_is_the_identity(recompute):
    block = built(0, 4, recompute=recompute)
    x = images(*SHAPE)
    y, dx, weight_gradients = gradients(block, x, training=True)
    plain = gradients(keras.layers.Identity(), x)
    close([y, dx], plain[:2], rtol=0, atol=0)
    assert weight_gradients == [] and block.count_params() == 0


def test_the_input_is_passed_on_untouched():
    block, x = built(2, 3), images(*SHAPE)
    y = gradients(block, x, training=True)[0]
    np.testing.assert_array_equal(y[..., :6], x)
    shorter = built(1, 3)
    for new, old in zip(
        shorter.weights, block.dense_layers[0].weights, strict=True
    ):
        new.assign(old.value)
    close(
        [gradients(shorter, x, training=False)[0][..., 6:]],
        [gradients(block, x, training=False)[0][..., 6:9]],
    )


@pytest.mark.parametrize("layers,growth", [(1, 1), (3, 4), (6, 12)])
def test_parameter_counts(layers, growth):
    """Layer l sees c + (l - 1) k channels."""
    seen = [6 + index * growth for index in range(layers)]
    plain = sum(4 * c + 9 * c * growth for c in seen)
    assert built(layers, growth, False).count_params() == plain
    inner = 4 * growth
    narrow = sum(
        4 * c + c * inner + 4 * inner + 9 * inner * growth for c in seen
    )
    assert built(layers, growth).count_params() == narrow


def test_inference_uses_the_moving_statistics():
    block, x = built(1, 2, False), images(*SHAPE)
    gamma, beta, kernel = arrays(block.trainable_variables)
    mean, variance = arrays(block.non_trainable_variables)
    y = ref.relu(ref.frozen_norm(x, gamma, beta, mean, variance))
    expected = np.concatenate([x, *arrays([ref.conv(y, kernel)])], -1)
    close([gradients(block, x, training=False)[0]], [expected], atol=1e-5)


@pytest.mark.parametrize("bottleneck", [False, True])
def test_dropout_follows_every_convolution(bottleneck):
    block = built(2, 3, bottleneck, rate=0.4, seed=0)
    for layer in block.dense_layers:
        kinds = [type(part).__name__ for part in layer.layers]
        after = [
            kinds[i + 1] for i, kind in enumerate(kinds) if kind == "Conv2D"
        ]
        assert after == ["Dropout"] * (2 if bottleneck else 1)
    seeds = [
        part.seed
        for layer in block.dense_layers
        for part in layer.layers
        if isinstance(part, keras.layers.Dropout)
    ]
    assert len(set(seeds)) == len(seeds)


@drops_everything
def test_rate_1_appends_zeros():
    block, x = built(2, 3, rate=1.0), images(*SHAPE)
    y = gradients(block, x, training=True)[0]
    np.testing.assert_array_equal(y[..., :6], x)
    assert not np.any(y[..., 6:])


@pytest.mark.parametrize("recompute", [False, True])
def test_channels_first_is_the_transpose(recompute):
    last = built(2, 3)
    first = DenseBlock(2, 3, recompute=recompute, data_format="channels_first")
    first.build((3, 6, 5, 4))
    copy_weights(last, first)
    x = images(*SHAPE)
    expected = gradients(last, x, training=False)[0]
    y = np.asarray(first(x.transpose(0, 3, 1, 2), training=False))
    close([y], [expected.transpose(0, 3, 1, 2)], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("recompute", [False, True])
def test_group_norm_has_no_state(recompute):
    block = built(2, 4, norm="group", recompute=recompute)
    assert block.non_trainable_variables == []
    x = images(*SHAPE)
    whole = gradients(block, x, training=True)[0]
    close([gradients(block, x[:1], training=True)[0]], [whole[:1]], atol=1e-5)


class TestArguments:
    @pytest.mark.parametrize("value", [-1, 1.5, True])
    def test_num_layers(self, value):
        with pytest.raises(ValueError, match="Received: num_layers="):
            DenseBlock(value, 4)

    @pytest.mark.parametrize("value", [0, 2.0])
    def test_growth_rate(self, value):
        with pytest.raises(ValueError, match="Received: growth_rate="):
            DenseBlock(2, value)

    def test_rate(self):
        with pytest.raises(ValueError, match="Received: rate=-0.1"):
            DenseBlock(2, 4, rate=-0.1)

    @pytest.mark.parametrize(
        "name,value",
        [("norm", "layer"), ("data_format", "NHWC"), ("fan_mode", "avg")],
    )
    def test_choices(self, name, value):
        with pytest.raises(ValueError, match=f"Received: {name}='{value}'"):
            DenseBlock(2, 4, **{name: value})

    def test_weight_decay(self):
        with pytest.raises(ValueError, match="Received: weight_decay=-1"):
            DenseBlock(2, 4, weight_decay=-1)
