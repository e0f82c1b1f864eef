"""The copies' weights: how they begin, what acts on them, how they last."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from tests.helpers import BACKEND, arrays, close, images
from tests.layers.in_a_row import noisy
from tfdeep.layers import Repeat, WideBlock


class TestBeginnings:
    def test_each_copy_draws_from_the_fans_of_one(self):
        layer = Repeat(layers.Dense(200, kernel_initializer="he_normal"), 6)
        layer.build((None, 200))
        kernel, bias = arrays(layer.weights)
        assert kernel.shape == (6, 200, 200) and not np.any(bias)
        deviations = kernel.std((1, 2))
        np.testing.assert_allclose(deviations, (2 / 200) ** 0.5, rtol=0.02)
        across = np.corrcoef(kernel.reshape(6, -1))
        assert np.abs(across - np.eye(6)).max() < 0.03

    def test_masks_differ_from_copy_to_copy(self):
        layer = Repeat(layers.Dropout(0.5, seed=0), 8)
        x = np.ones((1, 64), "float32")
        y = np.array(layer(x, training=True))
        # Equal masks would leave half of the values.
        assert np.sum(y != 0) < 8
        states = arrays(layer.variables)[0]
        assert states[0, 0] == 0 and len(set(states[:, 0].tolist())) == 8
        assert states[:, 1].tolist() == [1] * 8

    def test_equal_seeds_give_equal_layers(self):
        one, other = (
            Repeat(WideBlock(4, rate=0.3, seed=seed), 2) for seed in (1, 1)
        )
        for layer in (one, other):
            layer.build((None, 5, 5, 4))
        for a, b in zip(
            arrays(one.variables), arrays(other.variables), strict=True
        ):
            np.testing.assert_array_equal(a, b)


class TestWeights:
    def test_the_template_does_not_count(self):
        layer = Repeat(layers.Dense(4), 5)
        layer.build((None, 4))
        assert layer.count_params() == 5 * 20
        assert len(layer.variables) == 2
        assert [w.name for w in layer.weights] == ["kernel", "bias"]

    def test_penalties_add_up(self):
        for penalty in (
            keras.regularizers.L2(0.1),
            keras.regularizers.OrthogonalRegularizer(0.1),
        ):
            layer = Repeat(layers.Dense(4, kernel_regularizer=penalty), 3)
            layer.build((None, 4))
            expected = sum(
                float(penalty(ops.convert_to_tensor(kernel)))
                for kernel in arrays(layer.weights)[0]
            )
            np.testing.assert_allclose(
                float(sum(layer.losses)), expected, rtol=1e-5
            )

    @pytest.mark.parametrize(
        "constraint",
        [keras.constraints.MaxNorm(0.5, axis=0), keras.constraints.NonNeg()],
    )
    def test_constraints_hold_for_each_copy(self, constraint):
        layer = Repeat(layers.Dense(4, kernel_constraint=constraint), 3)
        layer.build((None, 4))
        kernel = layer.weights[0]
        ours = arrays([kernel.constraint(kernel.value)])[0]
        for copy, value in enumerate(arrays([kernel])[0]):
            (expected,) = arrays([constraint(ops.convert_to_tensor(value))])
            np.testing.assert_allclose(ours[copy], expected, rtol=1e-5)

    def test_weight_decay_can_leave_biases_out(self):
        layer = Repeat(layers.Dense(4, bias_initializer="ones"), 3)
        model = keras.Sequential([keras.Input((4,)), layer])
        optimizer = keras.optimizers.SGD(0.1, weight_decay=0.5)
        optimizer.exclude_from_weight_decay(var_names=["bias"])
        model.compile(optimizer, lambda y, p: 0.0 * ops.mean(p))
        before = arrays(layer.weights)
        model.fit(images(2, 4), images(2, 4), verbose=0)
        kernel, bias = arrays(layer.weights)
        np.testing.assert_allclose(kernel, before[0] * 0.95, rtol=1e-5)
        np.testing.assert_array_equal(bias, before[1])


class TestFrozen:
    @pytest.mark.parametrize("built", [False, True])
    def test_batch_statistics_stand_still(self, built):
        layer = Repeat(noisy(), 2)
        if built:
            layer.build((None, 4))
        layer.trainable = False
        x = images(6, 4)
        layer.build((None, 4))
        before = arrays(layer.weights)
        layer(x, training=True)
        assert layer.trainable_variables == []
        close(arrays(layer.weights), before, 0, 0)
        layer.trainable = True
        layer(x, training=True)
        assert len(layer.trainable_variables) == 4
        assert any(
            np.any(a != b)
            for a, b in zip(arrays(layer.weights), before, strict=True)
        )

    def test_a_part_that_was_frozen_before_stays_so(self):
        inner = keras.Sequential(
            [layers.Dense(4, trainable=False), layers.Dense(4)]
        )
        layer = Repeat(inner, 2)
        layer.build((None, 4))
        assert len(layer.trainable_variables) == 2
        assert len(layer.non_trainable_variables) == 2


def test_saved_and_resumed(tmp_path):
    x, y = images(6, 4), images(6, 4, seed=1)
    model = keras.Sequential([keras.Input((4,)), Repeat(noisy(), 3)])
    model.compile("sgd", "mse", run_eagerly=BACKEND == "tensorflow")
    model.fit(x, y, verbose=0)
    model.save(tmp_path / "model.keras")
    resumed = keras.models.load_model(tmp_path / "model.keras")
    close(arrays(resumed.variables), arrays(model.variables), 0, 0)
    for each in (model, resumed):
        each.fit(x, y, verbose=0, shuffle=False)
    close(arrays(resumed.variables), arrays(model.variables))


def test_the_given_layer_stays_as_it_is():
    inner = layers.Dense(4)
    layer = Repeat(inner, 2)
    layer(images(2, 4))
    assert not inner.built and inner.weights == []
    # A layer that has weights already describes the copies all the same.
    inner.build((None, 4))
    before = arrays(inner.weights)
    Repeat(inner, 2)(images(2, 4))
    close(arrays(inner.weights), before, 0, 0)
