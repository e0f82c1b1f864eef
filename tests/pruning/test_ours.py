"""Layers and nets of this package: opened, passed on, or frozen."""

import keras
import numpy as np
import pytest

import tfdeep
from tests.pruning.zoo import conv, filled, head, inputs_for
from tfdeep import layers
from tfdeep.pruning import ChannelGraph, Magnitude, Random, prune, verify

SHAPE = {"input_shape": (8, 8, 3), "classes": 3}
NETS = {
    "resnet": lambda: tfdeep.models.ResNet(14, **SHAPE),
    "bottleneck": lambda: tfdeep.models.ResNet(
        11, block="bottleneck", shortcut="A", **SHAPE
    ),
    "preactivation": lambda: tfdeep.models.ResNet(
        8, preactivation=True, shortcut="C", **SHAPE
    ),
    "first_activation": lambda: tfdeep.models.ResNet(
        8, preactivation=True, activation_first=True, shortcut="A-average",
        **SHAPE,
    ),
    "wide": lambda: tfdeep.models.WideResNet(10, 1, rate=0.3, **SHAPE),
    "resnext": lambda: tfdeep.models.ResNeXt(11, 4, 4, **SHAPE),
    "densenet": lambda: tfdeep.models.DenseNet(10, 4, rate=0.2, **SHAPE),
    "stochastic": lambda: tfdeep.models.ResNet(
        8, survival_probability=0.5, **SHAPE
    ),
    "channels_first": lambda: tfdeep.models.ResNet(
        8, input_shape=(3, 8, 8), classes=3, data_format="channels_first"
    ),
}  # fmt: skip


def pruned(model, ratio=0.4):
    graph = ChannelGraph(model)
    plan = graph.plan(Random(seed=2).scores(graph), ratio=ratio, scope="local")
    return graph, plan, plan.compact(model)


@pytest.mark.parametrize("name", NETS)
def test_reference_nets_are_opened_into_keras_layers(name, tmp_path):
    model = filled(NETS[name]())
    graph, plan, small = pruned(model)
    assert len(plan.removed) == len(graph.free) > 3
    found = verify(model, small, plan, inputs_for(model))
    assert found.exact, str(found)
    counted = tfdeep.models.count(small)
    assert plan.parameters[1] == counted.parameters < 0.75 * plan.parameters[0]
    assert plan.multiply_adds[1] == counted.multiply_adds
    assert plan.multiply_adds[0] == tfdeep.models.multiply_adds(model)
    packages = {type(layer).__module__.split(".")[0] for layer in small.layers}
    assert packages == (
        {"keras", "tfdeep"} if name == "stochastic" else {"keras"}
    )
    small.save(tmp_path / "small.keras")
    if name != "stochastic":
        assert "tfdeep" not in small.to_json()
    loaded = keras.models.load_model(tmp_path / "small.keras")
    x = inputs_for(model)
    np.testing.assert_allclose(
        small.predict(x, verbose=0), loaded.predict(x, verbose=0), 1e-5, 1e-6
    )


def test_what_still_needs_this_package_is_said():
    model = NETS["stochastic"]()
    _, plan, _ = pruned(model)
    assert "needs tfdeep: StochasticDepth" in str(plan)
    _, plan, _ = pruned(NETS["resnet"]())
    assert "tfdeep" not in str(plan)


def test_group_norm_is_not_exact():
    model = filled(
        tfdeep.models.ResNet(8, norm="group", norm_groups=4, **SHAPE)
    )
    graph, plan, small = pruned(model)
    assert plan.inexact
    found = verify(model, small, plan, inputs_for(model))
    assert not found.exact and found.groups == plan.inexact


def test_standardized_convolutions_keep_what_they_take():
    model = filled(
        tfdeep.models.ResNet(8, weight_standardization=True, **SHAPE)
    )
    graph, plan, small = pruned(model)
    assert any("standardizes" in (g.reason or "") for g in graph.groups)
    assert verify(model, small, plan, inputs_for(model)).exact


def test_stacked_blocks_become_plain_ones():
    model = filled(tfdeep.models.ResNet(20, stacked=True, **SHAPE))
    graph = ChannelGraph(model)
    assert any(
        "tfdeep.models.unstack" in (g.reason or "") for g in graph.groups
    )
    small = prune(model, 0.3, scope="local")
    assert small.count_params() < 0.6 * model.count_params()
    plain = tfdeep.models.unstack(model)
    graph = ChannelGraph(plain)
    plan = graph.plan(Magnitude().scores(graph), ratio=0.3, scope="local")
    assert small.count_params() == plan.parameters[1]
    assert verify(plain, plan.compact(plain), plan, inputs_for(model)).exact


def test_wrappers_and_drops():
    i = keras.Input((8, 8, 4))
    x = conv(6, "a")(i)
    x = layers.DropPath(0.2)(x)
    x = layers.Recompute(conv(6, "b"))(x)
    block = keras.Sequential([conv(5, "inner"), conv(6, "last")])
    x = layers.StochasticBlock(block, 0.5)(x)
    x = layers.BatchEntropy()(x)
    x = layers.StochasticDepth(conv(4, "branch"), 0.5)(x)
    model = filled(keras.Model(i, head(x)))
    graph, plan, small = pruned(model)
    assert {group.name.split("/")[-1] for group in graph.free} == {
        "a", "b", "inner", "branch"
    }  # fmt: skip
    assert verify(model, small, plan, inputs_for(model)).exact
    kinds = {type(layer).__name__ for layer in small.layers}
    assert "BatchEntropy" not in kinds and "Recompute" not in kinds
    small.compile("sgd", "mse")
    x = inputs_for(model)
    small.fit(x, np.zeros((3, 3)), verbose=0)


def test_capsules_are_frozen():
    i = keras.Input((8, 8, 3))
    x = conv(8, "a")(i)
    x = layers.PrimaryCapsules(8, 4, 3)(x)
    graph = ChannelGraph(keras.Model(i, x))
    assert graph.free == []
    assert "one width" in graph.groups[0].reason


@pytest.mark.parametrize("shared", ["spatial", []])
def test_units_that_may_be_linear_are_sliced(shared):
    unit = layers.SparsePReLU(shared_axes=shared)
    model = filled(
        keras.Sequential(
            [
                keras.Input((8, 8, 3)),
                keras.layers.Conv2D(8, 3),
                unit,
                keras.layers.Conv2D(4, 3),
                keras.layers.Flatten(),
                keras.layers.Dense(3),
            ]
        )
    )
    slopes = np.linspace(0.0, 1.0, 8) * np.ones(unit.slopes.shape)
    unit.slopes.assign(slopes)
    unit.freeze()
    graph, plan, small = pruned(model)
    assert verify(model, small, plan, inputs_for(model)).exact
    (new,) = [x for x in small.layers if isinstance(x, layers.SparsePReLU)]
    assert new.active.shape[-1] < 8
    assert set(np.unique(np.array(new.frozen))) == {1.0}
