"""AutoInit and GradInit of repeated layers: each copy is one layer."""

import keras
import numpy as np
import pytest
from keras import layers

from tests.helpers import arrays, close, images
from tests.initializers.unchanged import unchanged
from tfdeep.initializers import AutoInit, GradInit, propagate
from tfdeep.initializers.without_noise import without_noise
from tfdeep.layers import BasicBlock, Repeat, StochasticBlock
from tfdeep.models import unstack


def net(repeated, width=32):
    return keras.Sequential(
        [keras.Input((width,)), repeated, layers.Dense(4, use_bias=False)]
    )


def noisy(units):
    """Noise and batch normalization after a dense layer."""
    return keras.Sequential(
        [
            layers.Dense(units, "tanh"),
            layers.BatchNormalization(momentum=0.6),
            layers.Dropout(0.4, seed=3),
        ]
    )


def relu_layer(width=32):
    return layers.Dense(width, "relu", kernel_initializer="glorot_uniform")


class TestAutoInit:
    def test_scales_are_those_of_the_layers_in_a_row(self):
        model = net(Repeat(relu_layer(), 6))
        plain = unstack(model)
        reports = []
        for each in (model, plain):
            init = AutoInit(seed=0)
            init.initialize_model(each)
            reports.append(
                [r for r in init.report.records if r.layer == "Dense"]
            )
        assert len(reports[0]) == 7
        for ours, theirs in zip(*reports, strict=True):
            assert ours.scale == pytest.approx(theirs.scale, rel=1e-6)
            assert ours.second == pytest.approx(theirs.second, rel=1e-6)
        # Equal draws too: they come in the same order.
        close(arrays(unstack(model).weights), arrays(plain.weights))

    def test_the_first_copy_differs_from_those_after_a_relu(self):
        model = net(Repeat(relu_layer(64), 5), 64)
        AutoInit(seed=0).initialize_model(model)
        deviations = arrays(model.layers[0].weights)[0].std((1, 2))
        expected = [64**-0.5] + [(2 / 64) ** 0.5] * 4
        np.testing.assert_allclose(deviations, expected, rtol=0.05)

    def test_the_signal_keeps_its_size_in_a_deep_net(self):
        model = net(Repeat(relu_layer(64), 60), 64)
        x = images(256, 64)
        assert np.var(model.predict(x, verbose=0)) < 1e-6
        with pytest.warns(UserWarning, match="between real draws by"):
            AutoInit(seed=0).initialize_model(model)
        assert 0.1 < np.var(model.predict(x, verbose=0)) < 10

    def test_nothing_but_kernels_moves(self):
        model = net(Repeat(noisy(32), 3))
        before = arrays(model.variables)
        AutoInit(seed=0).initialize_model(model)
        for variable, old, new in zip(
            model.variables, before, arrays(model.variables), strict=True
        ):
            assert np.any(old != new) == ("kernel" in variable.path)

    def test_frozen_copies_are_left_alone(self):
        repeated = Repeat(relu_layer(), 3)
        model = net(repeated)
        repeated.trainable = False
        with unchanged(repeated):
            AutoInit(seed=0).initialize_model(model)

    @pytest.mark.slow
    def test_survival_is_part_of_the_signal(self):
        blocks = Repeat(BasicBlock(4, shortcut="C", seed=1), 3, [0.9, 0.6, 0.3])
        model = keras.Sequential([keras.Input((5, 5, 4), 40), blocks])
        with unchanged(model):
            seconds = [
                [
                    r.second
                    for r in propagate(each).records
                    if "Depth" in r.layer
                ]
                for each in (model, unstack(model))
            ]
        assert len(seconds[0]) == 3
        np.testing.assert_allclose(*seconds, rtol=0.2)

    def test_a_skipped_block_is_a_mixture(self):
        block = StochasticBlock(layers.Rescaling(3.0), 0.25)
        model = keras.Sequential([keras.Input((8,)), block])
        record = propagate(model).records[-1]
        assert record.second == pytest.approx(0.25 * 9 + 0.75, rel=1e-2)


class TestGradInit:
    def test_noise_is_left_out_inside_the_loop(self):
        model = net(Repeat(noisy(32), 3, [0.5, 0.5, 0.5]))
        x = images(8, 32)
        state = arrays(model.variables)
        with without_noise(model):
            results = [np.array(model(x, training=True)) for _ in range(4)]
        for y in results:
            np.testing.assert_array_equal(y, results[0])
        for variable, value in zip(model.variables, state, strict=True):
            variable.assign(value)
        noise = [np.array(model(x, training=True)) for _ in range(4)]
        assert any(np.any(y != noise[0]) for y in noise)
        assert model.layers[0].survival_probabilities == (0.5, 0.5, 0.5)

    @pytest.mark.parametrize("within", [False, True])
    def test_each_copy_has_the_scale_of_its_layer(self, within):
        layer = Repeat(keras.layers.Dense(32, "relu"), 3)
        model = net(Repeat(layer, 2) if within else layer)
        in_a_row = (lambda m: unstack(unstack(m))) if within else unstack
        plain = in_a_row(model)
        x, y = images(64, 32), np.arange(64) % 4
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        searches = []
        for each in (model, plain):
            init = GradInit(iterations=5, verbose=0, seed=0)
            init.initialize_model(each, (x, y), loss, 32)
            searches.append(init)
        ours, theirs = (np.array(each.history["scales"]) for each in searches)
        assert len(set(ours[-1])) > 1
        # A stack has all kernels, then all biases, which are 0: not scaled.
        np.testing.assert_allclose(ours, theirs, rtol=1e-4)
        *_, last, _ = searches[0].scales
        assert last.endswith("kernel[1][2]" if within else "kernel[2]")
        pairs = zip(in_a_row(model).weights, plain.weights, strict=True)
        for a, b in pairs:
            np.testing.assert_allclose(a.numpy(), b.numpy(), 1e-4, 1e-6)
