"""The nets of `keras.applications`, with random weights and statistics."""

import time

import keras
import numpy as np
import pytest

import tfdeep
from tests.helpers import BACKEND
from tests.pruning.zoo import inputs_for
from tfdeep.pruning import ChannelGraph, Magnitude, PruningPlan, verify

SMALL = {
    "MobileNet": {"input_shape": (32, 32, 3), "alpha": 0.25},
    "MobileNetV2": {"input_shape": (32, 32, 3), "alpha": 0.35},
    "MobileNetV3Small": {"input_shape": (32, 32, 3)},
}
# Free channels, and millions of parameters before and after.
FACTS = {
    "ResNet50": (11456, 25.64, 13.07),
    "MobileNetV2": (9128, 3.54, 2.03),
    "DenseNet121": (10240, 8.06, 4.29),
    "EfficientNetB0": (11404, 5.33, 2.95),
    "VGG16": (12416, 138.4, 68.8),
    "InceptionV3": (17216, 23.85, 12.18),
    "Xception": (None, None, None),
    "MobileNet": (None, None, None),
    "MobileNetV3Small": (None, None, None),
    "EfficientNetV2B0": (None, None, None),
    "NASNetMobile": (None, None, None),
    "InceptionResNetV2": (None, None, None),
    "ResNet50V2": (None, None, None),
}
SIZES = {"NASNetMobile": 224, "VGG16": 224, "Xception": 71}


@pytest.fixture
def double():
    """Double precision, where the backend has it."""
    before = keras.config.floatx()
    if BACKEND == "tensorflow":
        keras.config.set_floatx("float64")
    yield
    keras.config.set_floatx(before)


def application(name, **settings):
    """A net whose signal lives, so that errors of it would be seen."""
    keras.utils.set_random_seed(0)
    model = getattr(keras.applications, name)(weights=None, **settings)
    rng = np.random.default_rng(0)
    for variable in model.variables:
        path = variable.path
        if path.endswith("moving_variance"):
            values = rng.uniform(0.5, 2.0, variable.shape)
        elif path.endswith("gamma"):
            values = rng.uniform(0.3, 1.5, variable.shape)
        elif path.endswith(("moving_mean", "beta", "bias")):
            values = rng.normal(0, 0.3, variable.shape)
        else:
            continue
        variable.assign(values)
    return model


def least(call, times=3):
    """CPU seconds of a call, the fewest of several."""
    spent = []
    for _ in range(times):
        begin = time.process_time()
        call()
        spent.append(time.process_time() - begin)
    return min(spent)


def check(model, **settings):
    """Remove 30 % of each group, and compare."""
    begin = time.process_time()
    graph = ChannelGraph(model)
    analysed = time.process_time() - begin
    scores = Magnitude(1, "mean").scores(graph)
    plan = graph.plan(scores, ratio=0.3, scope="local", **settings)
    begin = time.process_time()
    small = plan.compact(model)
    compacted = time.process_time() - begin
    found = verify(model, small, plan, inputs_for(model, rows=2))
    counted = tfdeep.models.count(small)
    assert plan.parameters[1] == counted.parameters
    assert plan.multiply_adds[1] == counted.multiply_adds
    return graph, plan, small, found, (analysed, compacted)


@pytest.mark.parametrize("name", SMALL)
def test_small_nets_are_exact(name, double):
    model = application(name, classes=10, **SMALL[name])
    graph, plan, _, found, _ = check(model)
    assert all(group.exact for group in graph.free)
    assert found.exact, str(found)
    assert found.max_error <= (1e-10 if BACKEND == "tensorflow" else 5e-6)
    assert plan.parameters[1] < 0.7 * plan.parameters[0]


@pytest.mark.claim
@pytest.mark.parametrize("precision", ["float64", "float32"])
@pytest.mark.parametrize("name", FACTS)
def test_nets_of_keras_are_exact(name, precision):
    before = keras.config.floatx()
    keras.config.set_floatx(precision)
    try:
        size = SIZES.get(name, 75)
        model = application(name, input_shape=(size, size, 3))
        graph, plan, _, found, (analysed, compacted) = check(model)
        scores = Magnitude(1, "mean").scores(graph)
        # The first of each makes kernels that TensorFlow keeps.
        again = least(lambda: plan.compact(model))
        cloned = least(lambda: keras.models.clone_model(model))
    finally:
        keras.config.set_floatx(before)
    print(name, precision, found, analysed, compacted, again, cloned)
    assert found.exact
    assert found.max_error <= {"float64": 1e-10, "float32": 5e-6}[precision]
    channels, whole, left = FACTS[name]
    if channels is not None:
        assert sum(group.channels for group in graph.free) == channels
        assert plan.parameters[0] / 1e6 == pytest.approx(whole, rel=0.01)
        # Those figures are of widths rounded up: of 32 channels 9 go, not 10.
        removed = {
            name: np.argsort(scores[name])[: 3 * len(scores[name]) // 10]
            for name in scores
        }
        rounded = PruningPlan(removed, graph).parameters[1]
        assert rounded / 1e6 == pytest.approx(left, rel=0.01)
        assert 0.96 * rounded <= plan.parameters[1] <= rounded
    assert analysed <= 2 and compacted <= 20
    assert again <= 2 * cloned


@pytest.mark.claim
def test_layer_norm_is_named():
    model = application("ConvNeXtTiny", input_shape=(64, 64, 3))
    _, plan, _, found, _ = check(model)
    assert not found.exact and found.groups == plan.inexact != []
    _, plan, _, found, _ = check(model, exact_only=True)
    assert found.exact and found.groups == [], str(found)
    assert found.max_error <= 5e-6
