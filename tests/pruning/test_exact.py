"""The compact model does what the masked one does, in every form."""

import keras
import numpy as np
import pytest

import tfdeep
from tests.helpers import BACKEND
from tests.pruning.zoo import EXACT, INEXACT, filled, inputs_for
from tfdeep.pruning import ChannelGraph, Magnitude, Random, verify


@pytest.fixture
def double():
    """Double precision, where the backend has it."""
    before = keras.config.floatx()
    if BACKEND == "tensorflow":
        keras.config.set_floatx("float64")
    yield
    keras.config.set_floatx(before)


def pruned(model, ratio=0.5, **settings):
    graph = ChannelGraph(model)
    scores = Random(seed=3).scores(graph)
    settings = {"scope": "local", "max_ratio": 0.99, **settings}
    plan = graph.plan(scores, ratio=ratio, **settings)
    return graph, plan, plan.compact(model)


@pytest.mark.parametrize("name", EXACT)
def test_outputs_are_equal_and_a_file_loads(name, double, tmp_path):
    make, free = EXACT[name]
    model = filled(make())
    before = [np.array(v.value) for v in model.variables]
    graph, plan, small = pruned(model)
    assert sum(group.channels for group in graph.free) == free
    assert len(plan.removed) == len(graph.free)
    assert all(group.exact for group in graph.groups)
    found = verify(model, small, plan, inputs_for(model))
    assert found.exact and found.groups == [], str(found)
    assert found.max_error <= (1e-10 if BACKEND == "tensorflow" else 5e-6)
    counts = [tfdeep.models.count(each) for each in (model, small)]
    assert plan.parameters == tuple(each.parameters for each in counts)
    assert plan.multiply_adds == tuple(each.multiply_adds for each in counts)
    for variable, old in zip(model.variables, before, strict=True):
        np.testing.assert_array_equal(variable, old)
    small.save(tmp_path / "small.keras")
    assert "tfdeep" not in small.to_json()
    loaded = keras.models.load_model(tmp_path / "small.keras")
    assert verify(model, loaded, plan, inputs_for(model)).exact


@pytest.mark.parametrize("name", INEXACT)
def test_what_mixes_channels_is_named(name):
    model = filled(INEXACT[name]())
    graph, plan, small = pruned(model)
    found = verify(model, small, plan, inputs_for(model))
    assert not found.exact and found.groups == ["low"]
    assert found.max_error > 1e-3
    low = next(group for group in graph.groups if group.name == "low")
    assert not low.exact and "norm" in low.mixed_by
    if name == "layer_norm":
        _, plan, small = pruned(model, exact_only=True)
        assert list(plan.removed) == ["exact"]
        assert verify(model, small, plan, inputs_for(model)).exact


def test_without_a_ratio_nothing_changes():
    model = filled(EXACT["residual"][0]())
    graph = ChannelGraph(model)
    plan = graph.plan(Magnitude().scores(graph), ratio=0.0)
    assert plan.removed == {}
    small = plan.compact(model)
    assert [v.path for v in small.variables] == [
        v.path for v in model.variables
    ]
    for old, new in zip(model.variables, small.variables, strict=True):
        np.testing.assert_array_equal(old, new)
