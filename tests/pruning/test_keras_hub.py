"""Backbones of keras-hub, with random weights."""

import keras
import numpy as np
import pytest

from tests.pruning.zoo import filled, head, inputs_for
from tfdeep.pruning import ChannelGraph, Magnitude, verify

pytestmark = pytest.mark.claim
SIZE = (64, 64, 3)
# Arguments of each, and how many channels are free.
BACKBONES = {
    "ResNetBackbone": (
        {
            "input_conv_filters": [64],
            "input_conv_kernel_sizes": [7],
            "stackwise_num_filters": [64, 128, 256, 512],
            "stackwise_num_blocks": [2, 2, 2, 2],
            "stackwise_num_strides": [1, 2, 2, 2],
            "block_type": "bottleneck_block",
        },
        7744,
    ),
    "DenseNetBackbone": (
        {"stackwise_num_repeats": [3, 4, 3], "growth_rate": 16},
        980,
    ),
    "EfficientNetBackbone": (
        {
            "stackwise_width_coefficients": [0.5] * 3,
            "stackwise_depth_coefficients": [0.3] * 3,
            "stackwise_kernel_sizes": [3, 3, 5],
            "stackwise_num_repeats": [2, 2, 2],
            "stackwise_input_filters": [32, 16, 24],
            "stackwise_output_filters": [16, 24, 40],
            "stackwise_expansion_ratios": [1, 6, 6],
            "stackwise_strides": [1, 2, 2],
            "stackwise_squeeze_and_excite_ratios": [0.25] * 3,
            "stackwise_block_types": ["v1"] * 3,
            "stackwise_force_input_filters": [0] * 3,
            "stackwise_nores_option": [False] * 3,
        },
        858,
    ),
    "VGGBackbone": (
        {
            "stackwise_num_repeats": [1, 1, 2],
            "stackwise_num_filters": [16, 32, 64],
        },
        176,
    ),
}
BLOCKS = {
    "stackwise_expansion": [[40, 56], [64, 144]],
    "stackwise_num_blocks": [2, 2],
    "stackwise_num_filters": [[16, 16], [24, 24]],
    "stackwise_kernel_size": [[3, 3], [5, 5]],
    "stackwise_num_strides": [[2, 1], [2, 1]],
    "stackwise_se_ratio": [[None, None], [0.25, 0.25]],
    "stackwise_activation": [["relu"] * 2, ["hard_swish"] * 2],
    "stackwise_padding": [[1, 1], [2, 2]],
    "output_num_filters": 144,
    "depthwise_filters": 8,
    "depthwise_stride": 2,
    "depthwise_residual": False,
    "last_layer_filter": 128,
    "squeeze_and_excite": 0.5,
}


def classifier(kind, settings):
    """A backbone with a head, whose signal neither dies nor explodes."""
    hub = pytest.importorskip(
        "keras_hub", reason="keras-hub is not installed: pip install keras-hub"
    )
    i = keras.Input(SIZE)
    backbone = getattr(hub.models, kind)(image_shape=SIZE, **settings)
    model = filled(keras.Model(i, head(backbone(i))))
    for variable in model.variables:
        if "kernel" in variable.path:
            inputs = np.prod(variable.shape[:-1])
            variable.assign(variable.value * (2 / inputs**0.5))
    return model


@pytest.mark.parametrize("kind", BACKBONES)
def test_backbones_are_exact(kind, tmp_path):
    settings, free = BACKBONES[kind]
    model = classifier(kind, settings)
    graph = ChannelGraph(model, on_unknown="error")
    assert sum(group.channels for group in graph.free) == free
    scores = Magnitude().scores(graph)
    plan = graph.plan(scores, ratio=0.3, scope="local")
    small = plan.compact(model)
    found = verify(model, small, plan, inputs_for(model, rows=2))
    assert found.exact, str(found)
    assert plan.parameters[1] < 0.7 * plan.parameters[0]
    small.save(tmp_path / "small.keras")
    kinds = {type(layer).__module__ for layer in small.layers}
    assert all(kind.startswith("keras.") for kind in kinds)


def test_what_stays_says_why():
    with pytest.warns(UserWarning, match="1 x DepthwiseConvBlock"):
        graph = ChannelGraph(classifier("MobileNetBackbone", BLOCKS))
    (stem, _) = graph.groups
    assert stem.frozen and "(DepthwiseConvBlock) has no rule" in stem.reason
