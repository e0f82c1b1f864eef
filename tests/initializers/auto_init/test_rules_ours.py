"""The networks of this package keep the variance that is predicted."""

import pytest
from keras import layers

import tfdeep
from tests.initializers.auto_init.nets import normal, single
from tfdeep.initializers import AutoInit, propagate

NETS = {
    "resnet": lambda: tfdeep.models.ResNet(14, survival_probability=0.5),
    "preactivation": lambda: tfdeep.models.ResNet(14, preactivation=True),
    "densenet": lambda: tfdeep.models.DenseNet(10, recompute=True),
    "resnext": lambda: tfdeep.models.ResNeXt(11, 4, 8, input_shape=(8, 8, 3)),
}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Real draws scatter")
@pytest.mark.parametrize("name", NETS)
def test_our_nets(name):
    """Layer by layer, and none without a rule.

    Of small images too much is border, where positions differ.
    """
    model = NETS[name]()
    init = AutoInit(seed=0)
    init.initialize_model(model)
    x = normal(16, *model.input_shape[1:])
    verified = init.report.verify(x, draws=8)
    assert not init.report.probed
    assert not init.report.skipped
    kernels = [v for v in model.trainable_variables if "kernel" in v.path]
    scaled = [r for r in init.report.records if r.scale is not None]
    assert len(scaled) == len(kernels)
    assert verified.within(0.02).mean() >= 0.9
    assert verified.within(0.1).mean() >= 0.97


def test_a_branch_without_a_shortcut():
    """It is there with the probability that it survives."""
    layer = tfdeep.StochasticDepth(layers.Rescaling(3.0), 0.25)
    record = propagate(single(layer, 8), 1.0, 2.0).records[-1]
    assert record.mean == pytest.approx(0.25 * 3, rel=0.02)
    assert record.second == pytest.approx(0.25 * 27, rel=0.02)


def test_an_inverted_branch():
    """It is there with that probability, and then larger."""
    layer = tfdeep.StochasticDepth(layers.Rescaling(3.0), 0.25, inverted=True)
    record = propagate(single(layer, 8), 1.0, 2.0).records[-1]
    assert record.mean == pytest.approx(3, rel=0.02)
    assert record.second == pytest.approx(27 / 0.25, rel=0.02)


@pytest.mark.parametrize("inverted", [False, True])
def test_a_block_that_is_skipped(inverted):
    """c g + (1 - c) x where it is kept, with g = 3 x, and x elsewhere."""
    layer = tfdeep.layers.StochasticBlock(
        layers.Rescaling(3.0), 0.5, inverted=inverted
    )
    record = propagate(single(layer, 8), 1.0, 2.0).records[-1]
    c = 2.0 if inverted else 1.0
    kept = c * 3 + (1 - c)
    assert record.mean == pytest.approx(0.5 * kept + 0.5, rel=0.05)
    assert record.second == pytest.approx(3 * (0.5 * kept**2 + 0.5), rel=0.05)
