"""Reports are text, plain values, files and pictures."""

import json

import numpy as np
import pytest

from tests.pruning.zoo import filled, inputs_for, residual
from tfdeep.pruning import ChannelGraph, Magnitude, verify


@pytest.fixture(scope="module")
def reports():
    model = filled(residual())
    graph = ChannelGraph(model)
    scores = Magnitude().scores(graph)
    plan = graph.plan(scores, ratio=0.5, scope="local")
    small = plan.compact(model)
    found = verify(model, small, plan, inputs_for(model))
    return {"graph": graph, "scores": scores, "plan": plan, "verify": found}


@pytest.mark.parametrize("name", ["graph", "scores", "plan", "verify"])
def test_each_can_be_read_saved_and_drawn(reports, name, tmp_path):
    pytest.importorskip("matplotlib")
    report = reports[name]
    assert str(report)
    path = tmp_path / "report.json"
    report.save(path)
    assert json.loads(path.read_text()) == report.to_dict()
    figure = report.plot(tmp_path / "report.png")
    assert (tmp_path / "report.png").stat().st_size > 1000
    assert len(figure.axes[0].patches) > 0


def test_the_picture_of_a_plan_has_the_widths(reports):
    pytest.importorskip("matplotlib")
    plan = reports["plan"]
    bars = plan.plot().axes[0].patches
    widths = [bar.get_width() for bar in bars]
    count = len(plan.widths)
    before, after = np.array(list(plan.widths.values())).T
    np.testing.assert_array_equal(widths[:count], before)
    np.testing.assert_array_equal(widths[count:], after)
