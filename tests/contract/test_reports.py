"""What every report passes: one form for all of them.

text        `str(report)` says something
values      `to_dict()` is what JSON gives back, with no word that it lacks
file        `save(path)` writes that, as a whole, and returns the path
picture     `plot()` returns a figure, and writes it if there is a path;
            matplotlib is imported there alone
old names   warn, and do what they did
"""

import ast
import inspect
import json
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers

import tfdeep
import tfdeep.recipes
from tests.contract.harness import ROOT, targets
from tfdeep import linearization, models, privacy, pruning, training
from tfdeep.callbacks import BatchEntropyMonitor, LinearizationScheduler
from tfdeep.initializers import GradInit, propagate
from tfdeep.pruning.selection import SelectionGraph
from tfdeep.report import Report, plain

X = np.random.default_rng(0).normal(size=(8, 6)).astype("float32")


def net() -> keras.Model:
    return keras.Sequential(
        [
            keras.Input((6,)),
            layers.Dense(20, "relu", name="low"),
            layers.Dense(3, name="high"),
        ]
    )


def residual() -> keras.Model:
    inputs = keras.Input((6,))
    x = layers.Add()([inputs, layers.Dense(6)(inputs)])
    return keras.Model(inputs, layers.Add()([x, layers.Dense(6)(x)]))


def audit():
    check = privacy.audit.Finding
    findings = (
        check("removal", True, 0.5, 1.0),
        check("noise", False, np.inf, 1.0, (0.4, np.inf), "a note"),
    )
    return privacy.audit.AuditReport(findings, "a net")


def results():
    found = tfdeep.recipes.Results()
    for seed in (0, 1):
        found.record("plain", seed, test_error=0.5 + seed / 8, loss=np.nan)
        found.record("residual", seed, test_error=0.25)
    found.entry("plain", 0).extend({"loss": [2.0, 1.0]})
    return found


def monitor():
    found = BatchEntropyMonitor(X, verbose=0)
    model = net()
    model.compile("sgd", "mse")
    model.fit(X, targets(8), epochs=2, verbose=0, callbacks=[found])
    return found


def grad_init():
    init = GradInit(iterations=2, verbose=0)
    init.initialize_model(net(), (X, targets(8)), "mse", 8)
    return init.report


def channels():
    return pruning.ChannelGraph(net())


def in_a_row():
    """Two layers that are one, in fewer multiply-adds."""
    wide = [layers.Dense(9), layers.Dense(3)]
    return keras.Sequential([keras.Input((6,)), *wide])


def scores():
    return pruning.Magnitude().scores(channels())


def scheduler():
    found = LinearizationScheduler(0, 1, 0.01)
    model = linearization.linearize(net())
    model.compile("sgd", "mse")
    model.fit(X, targets(8), epochs=2, verbose=0, callbacks=[found])
    return found


REPORTS = {
    "AuditReport": audit,
    "BatchEntropyMonitor": monitor,
    "ChannelGraph": channels,
    "Foldable": lambda: linearization.foldable(in_a_row()),
    "LinearizationScheduler": scheduler,
    "ModelCount": lambda: models.count(net()),
    "PathLength": lambda: linearization.path_length(net()),
    "PruningPlan": lambda: channels().plan(scores(), ratio=0.5),
    "Reach": lambda: training.describe_reach(net()),
    "ResidualBranches": lambda: models.find_residual_branches(residual()),
    "Results": results,
    "ScaleReport": grad_init,
    "Scores": scores,
    "SelectionGraph": lambda: SelectionGraph(net(), ()),
    "SignalReport": lambda: propagate(net(), draws=1),
    "Statement": lambda: privacy.Plan(
        100, 10, 20, 1e-5, noise_multiplier=2.0
    ).statement(),
    "Verification": lambda: propagate(net(), draws=1).verify(X, draws=2),
}
EMPTY = {
    "Foldable": lambda: linearization.foldable(net()),
    "LinearizationScheduler": lambda: LinearizationScheduler(0, 1, 0.01),
    "PathLength": lambda: linearization.path_length(in_a_row()),
    "BatchEntropyMonitor": lambda: BatchEntropyMonitor(X),
    "ModelCount": lambda: models.counting.ModelCount(()),
    "ResidualBranches": lambda: models.find_residual_branches(net()),
    "Results": tfdeep.recipes.Results,
    "ScaleReport": lambda: GradInit().report,
    "SignalReport": lambda: tfdeep.initializers.SignalReport([]),
    "Statement": lambda: privacy.Plan(
        100, 10, 20, 1e-5, noise_multiplier=0.0
    ).statement(),
}
each_report = pytest.mark.parametrize("name", REPORTS)


def classes(base=Report) -> list[type]:
    """The classes of reports in the package."""
    found = []
    for each in base.__subclasses__():
        if each.__module__.startswith("tfdeep."):
            found += [each, *classes(each)]
    return found


def test_every_report_has_a_case():
    assert {each.__name__ for each in classes()} == set(REPORTS)


# `result.json` of a run, and the old names of GradInit.
OTHERS = {"Runner", "GradInit", "Report"}


def test_what_has_the_form_of_a_report_is_one():
    """A class with `to_dict` or `plot` of its own would be another form."""
    reports = set(REPORTS)
    for path in (ROOT / "tfdeep").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, ast.ClassDef):
                continue
            methods = {getattr(each, "name", "") for each in node.body}
            if node.name not in OTHERS:
                own = methods & {"to_dict", "save", "plot"}
                assert not own, f"{path}: {node.name} defines {own}"
            if methods & {"_content", "_figure"}:
                assert node.name in reports | OTHERS


@each_report
def test_text_and_values(name):
    report = REPORTS[name]()
    text = str(report)
    assert (
        type(text) is str and text.strip() and text != object.__repr__(report)
    )
    values = report.to_dict()
    assert isinstance(values, dict) and values
    assert json.loads(json.dumps(values, allow_nan=False)) == values


@each_report
def test_file(name, tmp_path):
    report = REPORTS[name]()
    path = tmp_path / "report.json"
    path.write_text("old")
    assert report.save(str(path)) == path
    assert json.loads(path.read_text("utf-8")) == report.to_dict()
    assert list(tmp_path.iterdir()) == [path]


@each_report
def test_picture(name, tmp_path):
    figure = pytest.importorskip("matplotlib.figure", reason="an extra")
    report = REPORTS[name]()
    path = tmp_path / "report.png"
    assert isinstance(report.plot(path), figure.Figure)
    assert path.read_bytes().startswith(b"\x89PNG")
    assert isinstance(report.plot(), figure.Figure)
    (parameter,) = inspect.signature(report.plot).parameters.values()
    assert parameter.name == "path" and parameter.default is None


@each_report
def test_a_picture_needs_matplotlib(name, monkeypatch):
    report = REPORTS[name]()
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"tfdeep\[plot\]"):
        report.plot()


@pytest.mark.parametrize("name", EMPTY)
def test_nothing_is_not_drawn(name):
    report = EMPTY[name]()
    assert str(report) and isinstance(report.to_dict(), dict)
    with pytest.raises(ValueError, match="must have something to draw"):
        report.plot()


def test_what_is_plain():
    values = {1: (np.float32(0.5), np.int64(2)), "a": [np.inf, None, True]}
    assert plain(values) == {"1": [0.5, 2], "a": [None, None, True]}
    assert plain(np.array([[1, 2]])) == [[1, 2]]


def test_old_names_warn(tmp_path):
    old = Path(tmp_path / "old.json")
    for make in (audit, REPORTS["SignalReport"]):
        report = make()
        with pytest.warns(DeprecationWarning, match="save"):
            assert json.loads(report.to_json()) == report.to_dict()
    with pytest.warns(DeprecationWarning, match="save"):
        report.to_json(old)
    assert json.loads(old.read_text("utf-8")) == report.to_dict()
    init = GradInit()
    with pytest.warns(DeprecationWarning, match="report.to_dict"):
        assert init.to_dict() == init.report.to_dict()
    with pytest.warns(DeprecationWarning, match="report.save"):
        assert init.save(old) == old
    with pytest.warns(DeprecationWarning, match="report.plot"):
        with pytest.raises(ValueError, match="something to draw"):
            init.plot()


def test_a_statement_is_a_text():
    """As it was before it was a report."""
    statement = REPORTS["Statement"]()
    assert isinstance(statement, str) and "Not covered" in statement
    assert statement.splitlines()[-1] == str(statement).splitlines()[-1]
    assert type(str(statement)) is str
