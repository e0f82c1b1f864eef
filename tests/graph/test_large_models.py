"""Published nets, rewritten without an edit, train on as they were."""

import keras
import numpy as np
import pytest

import tfdeep
from tests.graph.test_rewrite import OPTIMIZERS, state_of
from tfdeep.graph import rewrite

pytestmark = pytest.mark.claim

# Inputs are as small as the nets take.
APPLICATIONS = {
    "ConvNeXtTiny": 32,
    "DenseNet121": 32,
    "EfficientNetB0": 32,
    "EfficientNetV2B0": 32,
    "InceptionV3": 75,
    "MobileNet": 32,
    "MobileNetV2": 32,
    "MobileNetV3Small": 32,
    "NASNetMobile": 32,
    "ResNet50": 32,
    "ResNet50V2": 32,
    "VGG16": 32,
}
OURS = {
    "DenseNet": lambda: tfdeep.models.DenseNet(
        16, growth_rate=4, input_shape=(16, 16, 3)
    ),
    "MomentumCapsNet": lambda: tfdeep.models.MomentumCapsNet(
        2, (20, 20, 1), decoder=False, filters=16, num_capsules=4
    ),
    "ResNeXt": lambda: tfdeep.models.ResNeXt(
        11, cardinality=2, base_width=4, input_shape=(16, 16, 3)
    ),
    "ResNet": lambda: tfdeep.models.ResNet(
        20, input_shape=(16, 16, 3), survival_probability=0.7
    ),
    "ResNet, stacked": lambda: tfdeep.models.ResNet(
        20, input_shape=(16, 16, 3), stacked=True
    ),
    "WideResNet": lambda: tfdeep.models.WideResNet(
        16, 2, rate=0.3, input_shape=(16, 16, 3)
    ),
}
NETS = [*APPLICATIONS, *OURS]


def made(name):
    if name in OURS:
        return OURS[name]()
    size = APPLICATIONS[name]
    return getattr(keras.applications, name)(
        weights=None, include_top=False, input_shape=(size, size, 3)
    )


@pytest.mark.parametrize("name", NETS)
def test_the_third_step_is_that_of_the_model(name):
    keras.utils.set_random_seed(0)
    model = made(name)
    kinds = list(OPTIMIZERS)
    kind = kinds[NETS.index(name) % len(kinds)]
    model.compile(OPTIMIZERS[kind](), "mse")
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4, *model.input_shape[1:])).astype("float32")
    y = rng.normal(size=(4, *model.output_shape[1:])).astype("float32")
    for _ in range(2):
        model.train_on_batch(x, y)
    before = state_of(model)
    new = rewrite(model)
    assert [layer.name for layer in new.layers] == [
        layer.name for layer in model.layers
    ]
    for old, now in zip(before, state_of(new), strict=True):
        np.testing.assert_array_equal(now, old)
    logs = new.train_on_batch(x, y, return_dict=True)
    for old, now in zip(before, state_of(model), strict=True):
        np.testing.assert_array_equal(now, old, "the given model has moved")
    expected = model.train_on_batch(x, y, return_dict=True)
    assert logs == pytest.approx(expected, rel=1e-5)
    for variable, old, now in zip(
        model.variables, state_of(model), state_of(new), strict=False
    ):
        np.testing.assert_allclose(now, old, 1e-4, 1e-5, err_msg=variable.path)
