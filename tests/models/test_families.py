"""What each family has of its own: depths, blocks, options."""

import keras
import numpy as np
import pytest

from tests.helpers import arrays, images
from tests.models.symbolic import symbolic
from tfdeep import layers
from tfdeep.models import DenseNet, ResNet, ResNeXt, WideResNet, multiply_adds


def blocks(model, kind=layers.ResidualBlock):
    return [layer for layer in model.layers if isinstance(layer, kind)]


def kinds(model):
    return {type(block).__name__ for block in blocks(model)}


class TestResNet:
    @pytest.mark.parametrize(
        "arguments,kind,shortcut",
        [
            ({"depth": 20}, "BasicBlock", "A"),
            ({"depth": 20, "preactivation": True}, "PreActivationBlock", "A"),
            ({"depth": 56, "preactivation": True}, "PreActivationBlock", "A"),
            ({"depth": 20, "block": "bottleneck"}, "BottleneckBlock", "B"),
            (
                {"depth": 119, "preactivation": True},
                "PreActivationBottleneckBlock",
                "B",
            ),
            ({"depth": 18, "form": "imagenet"}, "BasicBlock", "B"),
            ({"depth": 50, "form": "imagenet"}, "BottleneckBlock", "B"),
        ],
    )
    def test_the_papers_block_and_shortcut(self, arguments, kind, shortcut):
        model = symbolic(ResNet, **arguments)
        assert kinds(model) == {kind}
        assert {b.shortcut_option for b in blocks(model)} == {shortcut}

    def test_widths_and_strides(self):
        found = [(b.filters, b.strides) for b in blocks(symbolic(ResNet, 14))]
        assert found == [(16, 1), (16, 1), (32, 2), (32, 1), (64, 2), (64, 1)]

    def test_a_plain_net_has_the_same_weights_and_no_shortcut(self):
        plain = symbolic(ResNet, 14, shortcut="none")
        residual = symbolic(ResNet, 14)
        assert plain.count_params() == residual.count_params()
        assert multiply_adds(plain) == multiply_adds(residual)
        assert all(block.shortcut is None for block in blocks(plain))

    def test_a_plain_net_forgets_its_input_where_a_residual_one_does_not(self):
        """The claim of residual learning, at the start of training.

        With branches of zeros a residual net still passes its input on.
        """
        x = images(2, 16, 16, 3)
        changes = {}
        for shortcut in ("none", "A"):
            model = ResNet(
                14,
                shortcut=shortcut,
                input_shape=(16, 16, 3),
                include_top=False,
            )
            for block in blocks(model):
                last = block.branch.layers[-1]
                last.gamma.assign(np.zeros(last.gamma.shape))
            a, b = np.asarray(model(x))
            changes[shortcut] = float(np.abs(a - b).max())
        assert changes["none"] == 0.0
        assert changes["A"] > 0.1

    @pytest.mark.parametrize(
        "arguments,message",
        [
            (
                {"depth": 21},
                "6n.2 in a CIFAR ResNet with basic blocks.*20 and 26",
            ),
            ({"depth": 1200}, "1196 and 1202"),
            ({"depth": 30, "block": "bottleneck"}, "9n.2.*29 and 38"),
            (
                {"depth": 51, "form": "imagenet"},
                "18, 34, 50.*of ResNet.*nearest are 34 and 50",
            ),
            ({"depth": 20, "block": "wide"}, "Received: block='wide'"),
            ({"depth": 20, "shortcut": "D"}, "Received: shortcut='D'"),
        ],
    )
    def test_bad_arguments(self, arguments, message):
        with pytest.raises(ValueError, match=message):
            ResNet(**arguments)


class TestWideResNet:
    def test_width_2_doubles_the_channels(self):
        model = symbolic(WideResNet, 16, 2)
        assert kinds(model) == {"WideBlock"}
        assert [b.filters for b in blocks(model)] == [32, 32, 64, 64, 128, 128]
        assert {b.fan_mode for b in blocks(model)} == {"fan_in"}

    def test_the_rate_reaches_every_block(self):
        rates = {b.rate for b in blocks(symbolic(WideResNet, 10, 1, rate=0.3))}
        assert rates == {0.3}

    def test_the_imagenet_form_widens_the_3x3_alone(self):
        model = symbolic(WideResNet, 50, 2, form="imagenet")
        first = blocks(model)[0]
        assert (first.width, first.output_filters) == (128, 256)
        assert first.groups == 1

    @pytest.mark.parametrize(
        "arguments,message",
        [
            ({"depth": 17, "width": 2}, "6n.4.*16 and 22"),
            ({"depth": 16, "width": 0.3}, "whole.*Received: width=0.3"),
            ({"depth": 16, "width": 0}, "Received: width=0"),
            ({"depth": 16, "width": 2, "rate": 1.5}, "Received: rate=1.5"),
            (
                {"depth": 19, "width": 2, "form": "imagenet"},
                "nearest are 18 and 34",
            ),
            (
                {"depth": 18, "width": 2, "rate": 0.3, "form": "imagenet"},
                "no dropout",
            ),
        ],
    )
    def test_bad_arguments(self, arguments, message):
        with pytest.raises(ValueError, match=message):
            WideResNet(**arguments)


class TestResNeXt:
    def test_cardinality_and_width(self):
        model = symbolic(ResNeXt, 11, cardinality=4, base_width=16)
        assert kinds(model) == {"AggregatedBlock"}
        assert [(b.groups, b.width) for b in blocks(model)] == [
            (4, 64),
            (4, 128),
            (4, 256),
        ]

    def test_equal_complexity(self):
        """The paper's claim rests on nets that cost about the same."""
        aggregated = symbolic(ResNeXt, 50, 32, 4, form="imagenet")
        plain = symbolic(ResNet, 50, form="imagenet")
        for count in (keras.Model.count_params, multiply_adds):
            assert count(aggregated) == pytest.approx(count(plain), rel=0.04)

    @pytest.mark.parametrize(
        "arguments,message",
        [
            ({"depth": 30}, "9n.2.*29 and 38"),
            ({"depth": 18, "form": "imagenet"}, "nearest are 50 and 101"),
            ({"depth": 29, "cardinality": 0}, "Received: cardinality=0"),
            ({"depth": 29, "base_width": 0}, "Received: base_width=0"),
        ],
    )
    def test_bad_arguments(self, arguments, message):
        with pytest.raises(ValueError, match=message):
            ResNeXt(**arguments)


class TestDenseNet:
    def test_blocks_and_growth(self):
        model = symbolic(DenseNet, 16, 4)
        dense = blocks(model, layers.DenseBlock)
        assert [(b.num_layers, b.growth_rate) for b in dense] == [(2, 4)] * 3
        channels = [layer.output.shape[-1] for layer in dense]
        # 2k, + 2 layers of k, halved, twice.
        assert channels == [16, 16, 16]
        assert len(blocks(model, layers.DenseTransition)) == 2

    def test_without_bottleneck_there_is_no_compression(self):
        model = symbolic(DenseNet, 10, 4, bottleneck=False)
        dense = blocks(model, layers.DenseBlock)
        assert [layer.output.shape[-1] for layer in dense] == [24, 32, 40]

    def test_fewer_parameters_at_the_same_depth(self):
        """DenseNet-BC-100-12 has less than half of ResNet-110's weights."""
        dense = symbolic(DenseNet, 100, 12)
        residual = symbolic(ResNet, 110, stacked=True)
        assert dense.count_params() < 0.5 * residual.count_params()

    def test_recompute_is_the_same_net(self):
        plain, recomputed = (
            DenseNet(10, 4, recompute=r, seed=0, input_shape=(8, 8, 3))
            for r in (False, True)
        )
        dense = blocks(recomputed, layers.DenseBlock)
        assert [block.recompute for block in dense] == [True] * 3
        x = images(2, 8, 8, 3)
        ours, theirs = (
            np.asarray(net(x, training=True)) for net in (recomputed, plain)
        )
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)
        for a, b in zip(
            arrays(recomputed.variables), arrays(plain.variables), strict=True
        ):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)

    def test_the_rate_reaches_blocks_and_transitions(self):
        model = symbolic(DenseNet, 10, 4, rate=0.2)
        parts = (layers.DenseBlock, layers.DenseTransition)
        assert [b.rate for b in blocks(model, parts)] == [0.2] * 5

    @pytest.mark.parametrize(
        "arguments,message",
        [
            ({"depth": 41}, "6n.4 in a CIFAR DenseNet-BC.*40 and 46"),
            ({"depth": 41, "bottleneck": False}, "3n.4.*40 and 43"),
            ({"depth": 122, "form": "imagenet"}, "nearest are 121 and 161"),
            ({"depth": 40, "growth_rate": -1}, "Received: growth_rate=-1"),
            ({"depth": 40, "growth_rate": 0}, "Received: growth_rate=0"),
            ({"depth": 40, "compression": 1.5}, "Received: compression=1.5"),
            ({"depth": 40, "stem_filters": 0}, "Received: stem_filters=0"),
            ({"depth": 40, "rate": 2}, "Received: rate=2"),
        ],
    )
    def test_bad_arguments(self, arguments, message):
        with pytest.raises(ValueError, match=message):
            DenseNet(**arguments)


@pytest.mark.parametrize("width", ["2", None, float("nan"), -1, 0, True])
def test_a_width_that_is_no_factor(width):
    with pytest.raises(ValueError, match="positive number.*Received: width="):
        WideResNet(10, width)


@pytest.mark.parametrize("decay", ["1e-4", None, -1.0, float("inf")])
def test_a_weight_decay_that_is_none(decay):
    with pytest.raises(ValueError, match="Received: weight_decay="):
        ResNet(8, weight_decay=decay)
