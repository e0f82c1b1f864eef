"""The runner: its result, its context and the errors it keeps."""

import io
import json
import math
import shutil
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import keras
import numpy as np
import pytest
from rich.console import Console

from tfdeep.data import DataUnavailableError
from tfdeep.recipes import Results, Scale, Verdict
from tfdeep.recipes.context import Context
from tfdeep.recipes.progress import RunProgress
from tfdeep.recipes.report import arms_table
from tfdeep.recipes.runner import Runner


@pytest.fixture
def fake(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    import fake_recipe

    return fake_recipe


def run(recipe, out, **arguments):
    """Run and return the status, `result.json` and what was printed."""
    text = io.StringIO()
    console = Console(file=text, width=200)
    status = Runner(recipe, out, console=console, **arguments).run()
    content = json.loads((out / "result.json").read_text(encoding="utf-8"))
    return status, content, text.getvalue()


@pytest.mark.slow
def test_result_holds_everything(fake, tmp_path):
    recipe = replace(fake.RECIPE, arms=partial(fake.arms, traced=True))
    status, result, text = run(recipe, tmp_path, seed=5, command="the command")

    assert status == result["status"] == "held"
    assert result["seeds"] == [5, 6] and result["seed"] == 5
    assert result["scale"] == "quick" and result["data"] == "digits"
    assert result["command"] == "the command"
    assert result["settings"]["epochs"] == 3
    assert result["wall_seconds"] > 0 and result["cpu_seconds"] > 0
    assert result["versions"]["keras"] == keras.__version__
    assert result["versions"]["backend"].split()[0] == keras.config.backend()
    assert result["versions"]["backend"].split()[1][0].isdigit()
    assert result["machine"]["cpus"] >= 1
    assert result["error"] is None

    (claim,) = result["claims"]
    assert claim["held"] is True and claim["measured"].startswith("lower by")
    assert claim["paper"] == "Table 1: 3 % against 5 %"

    assert list(result["arms"]) == ["small", "large"]
    entry = result["arms"]["large"]["6"]
    for key in ("loss", "val_accuracy", "wall_seconds", "cpu_seconds"):
        assert len(entry["history"][key]) == 3
    errors = [
        result["arms"]["large"][s]["metrics"]["error"] for s in ("5", "6")
    ]
    summary = result["summary"]["large"]["error"]
    assert summary["mean"] == pytest.approx(np.mean(errors))
    assert summary["std"] == pytest.approx(np.std(errors, ddof=1))
    assert summary["seeds"] == 2

    for name in ("curves.png", "comparison.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(
        ["result.json", *result["plots"]]
    )
    assert "large, seed 6: done in" in text  # Plain lines: not a terminal.
    assert "lower by" in text and "yes" in text


def test_a_reset_seed_equals_a_first_seed(fake):
    # Seeds 1 and 2, then 2 and 3: seed 2 is once reset and once newly built.
    scales = {"quick": fake.scale(epochs=1)}
    recipe = replace(fake.RECIPE, scales=scales)
    found = []
    for first in (1, 2):
        context = Context(
            recipe, seed=first, console=Console(file=io.StringIO())
        )
        context.only = "large"
        recipe.run(context)
        found.append(context.results.to_dict()["large"])
    reset, built = (seeds["2"]["history"] for seeds in found)
    for key in ("loss", "val_accuracy"):
        assert reset[key] == pytest.approx(built[key], abs=1e-6)
    assert found[0]["1"]["history"]["loss"] != reset["loss"]


def test_a_claim_that_fails(fake, tmp_path):
    status, result, text = run(fake.FALSE, tmp_path)

    assert status == result["status"] == "not held"
    assert [claim["held"] for claim in result["claims"]] == [True, False]
    assert "[not less than 0]" in text  # Brackets are no markup.
    assert "no" in text.split()


def test_an_error_is_kept(fake, tmp_path, capsys):
    (tmp_path / "curves.png").write_bytes(b"of an earlier run")

    status, result, text = run(fake.RECIPE, tmp_path, scale="paper")

    assert status == result["status"] == "error"
    assert result["error"] == "RuntimeError: the fake recipe fails"
    err = capsys.readouterr().err
    assert "Traceback" in err and err.splitlines()[-1] == (
        "fake could not run: RuntimeError: the fake recipe fails"
    )
    assert result["claims"][0]["held"] is None
    assert "sized for a GPU" in text or result["machine"]["accelerators"] > 0
    assert not (tmp_path / "curves.png").exists()


def test_further_figures_are_of_complete_runs(fake, tmp_path):
    from tfdeep.visualization.figure import new_figure

    def pictures(results):
        gap = results.difference("small", "large", "error")
        figure = new_figure(2, 2)
        figure.suptitle(str(gap))
        return {"further.png": figure}

    recipe = replace(fake.recipe((fake.GAIN,), fake.run), pictures=pictures)
    status, result, _ = run(recipe, tmp_path, scale="paper")
    assert status == "error" and "further.png" not in result["plots"]
    _, result, _ = run(replace(recipe, run=fake.only_record), tmp_path)
    assert "further.png" in result["plots"]
    assert (tmp_path / "further.png").exists()
    # Those of an earlier run are removed, whatever they are named.
    run(recipe, tmp_path, scale="paper")
    assert [path.name for path in tmp_path.iterdir()] == ["result.json"]


def test_a_picture_that_fails_is_no_verdict(fake, tmp_path):
    def pictures(results):
        raise RuntimeError("no picture")

    recipe = replace(fake.RECIPE, run=fake.only_record, pictures=pictures)
    status, result, text = run(recipe, tmp_path)
    assert status == result["status"] == "held"
    assert "could not be drawn: RuntimeError: no picture" in text
    assert result["plots"] == ["comparison.png"]


@pytest.mark.parametrize("full", ["write_json", "savefig"])
def test_a_full_disk_is_said(fake, tmp_path, monkeypatch, capsys, full):
    def fail(*args, **kwargs):
        raise OSError(28, "No space left on device")

    if full == "write_json":
        monkeypatch.setattr("tfdeep.recipes.runner.write_json", fail)
        lost = "result.json"
    else:
        monkeypatch.setattr("matplotlib.figure.Figure.savefig", fail)
        lost = "comparison.png"
    text = io.StringIO()
    console = Console(file=text, width=200)
    recipe = replace(fake.RECIPE, run=fake.only_record)
    assert Runner(recipe, tmp_path, console=console).run() == "error"
    said = f"{tmp_path / lost} cannot be written (No space left on device)."
    assert capsys.readouterr().err.count(said) == 1
    last = text.getvalue().splitlines()[-1]
    assert last == f"fake: held, but not written: {lost}"
    assert f"written: {tmp_path / lost}" not in text.getvalue()


def test_a_removed_folder_is_said(fake, tmp_path, capsys):
    out = tmp_path / "out"
    out.mkdir()

    def run_and_remove(context):
        fake.only_record(context)
        shutil.rmtree(out)

    recipe = replace(fake.RECIPE, run=run_and_remove)
    console = Console(file=io.StringIO())
    assert Runner(recipe, out, console=console).run() == "error"
    assert "(No such file or directory)" in capsys.readouterr().err


def test_no_more_workers_than_arms(fake, tmp_path):
    recipe = replace(fake.RECIPE, arms=fake.large, run=fake.only_record)
    _, result, text = run(recipe, tmp_path, workers=7)
    assert result["workers"] == 1 and ", 7 workers" not in text


NAMES = ("train_error", "test_error", "epoch_cpu_seconds", "parameters")


@pytest.mark.parametrize(
    "arms, metrics",
    [
        (("a", "b"), NAMES[:2]),
        (("ResNet-110, shortcut B", "DenseNet-BC-100"), NAMES),
        ([f"a net of {depth} layers" for depth in range(9)], NAMES),
    ],
)
def test_no_name_is_cut_at_80_columns(arms, metrics):
    results = Results()
    for arm in arms:
        for seed in range(2):
            values = {name: 0.1234 + seed for name in metrics}
            results.record(arm, seed, **values)
    text = io.StringIO()
    console = Console(file=text, width=80)
    console.print(arms_table(results, console.width))
    shown = text.getvalue()
    assert max(map(len, shown.splitlines())) <= 80
    for word in (*arms, *(name.replace("_", " ") for name in metrics)):
        assert word in shown
    assert shown.count("0.623 ± 0.71") == len(arms) * len(metrics)


def test_data_out_of_reach_is_one_sentence(fake, tmp_path, capsys):
    def run_without_data(context):
        raise DataUnavailableError("no network; use digits")

    recipe = replace(fake.RECIPE, run=run_without_data)
    status, result, text = run(recipe, tmp_path)

    assert status == "error" and result["error"] == "no network; use digits"
    assert not {"claim", "arm"} & set(text.split())  # No empty table.
    err = capsys.readouterr().err
    assert err == "fake could not run: no network; use digits\n"


def test_without_matplotlib(fake, tmp_path, monkeypatch):
    for name in [n for n in sys.modules if n.split(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)

    status, result, text = run(replace(fake.FALSE, claims=()), tmp_path)

    assert status == "held" and result["plots"] == []
    assert "pip install 'tfdeep[plot]'" in text


def test_saved_after_every_arm_and_seed(fake):
    saved = []
    context = Context(
        fake.RECIPE,
        console=Console(file=io.StringIO()),
        save=lambda: saved.append(1),
    )
    counts = []
    for each in context.runs():
        counts.append((each.arm, len(saved)))
    assert counts == [("small", 0), ("small", 1), ("large", 2), ("large", 3)]
    assert len(saved) == 4


def test_arrays_of_a_real_set(fake):
    context = Context(fake.RECIPE, console=Console(file=io.StringIO()))
    x, y = context.arrays("test")
    assert x.shape[1:] == context.shape and set(y.tolist()) == set(range(10))
    few, labels = context.arrays("test", limit=100)
    assert len(few) == len(labels) == 100
    assert len(set(labels.tolist())) == context.classes  # Not the first ones.


def test_each_arm_is_one_model(fake):
    context = Context(fake.RECIPE, console=Console(file=io.StringIO()))
    models = [run.model for run in context.runs()]
    assert models[0] is models[1] and models[2] is models[3]
    assert models[1] is not models[2]


def test_scale_chooses_data_and_seeds(fake):
    scales = {
        "quick": Scale("1 s"),
        "paper": Scale("days", data="cifar10", seeds=1),
    }
    recipe = replace(fake.RECIPE, scales=scales)
    assert Context(recipe).data == "digits"
    assert Context(recipe, seed=7).seeds == (7, 8, 9)
    assert Context(recipe, "paper").data == "cifar10"
    assert Context(recipe, "paper").seeds == (0,)
    assert Context(recipe, "paper", data="mnist").data == "mnist"


def test_numbers_that_are_not_finite(fake, tmp_path):
    def diverge(context):
        for seed in context.seeds:
            context.record("plain", seed, error=math.nan)

    def judge(results):
        spread = results.spread("plain", "error")
        return Verdict(spread.mean < 0.5, str(spread))

    claim = replace(fake.GAIN, judge=judge)
    recipe = replace(fake.RECIPE, run=diverge, claims=(claim,))
    status, result, _ = run(recipe, tmp_path)

    assert status == "not held"
    assert result["arms"]["plain"]["0"]["metrics"]["error"] is None
    assert result["summary"]["plain"]["error"]["mean"] is None


def test_a_terminal_gets_bars_and_no_lines(fake, tmp_path):
    text = io.StringIO()
    console = Console(file=text, force_terminal=True, width=100)
    recipe = replace(
        fake.RECIPE,
        arms=fake.large,
        claims=(),
        scales={"quick": fake.scale(epochs=1)},
    )
    Runner(recipe, tmp_path, console=console).run()
    assert "large, seed 1" in text.getvalue()
    assert "━" in text.getvalue()
    assert "done in" not in text.getvalue()


def test_a_line_for_an_epoch_is_printed_once(monkeypatch):
    monkeypatch.setattr("tfdeep.recipes.progress.SECONDS_BETWEEN_LINES", 0.0)
    text = io.StringIO()
    progress = RunProgress(Console(file=text, width=80), "whole")
    progress.begin("arm", 0)
    for done in (0.5, 0.9, 1, 1.2, 1.6, 2, 2.5, 3):
        progress.step(done, 3, {})
    progress.end()
    lines = [line.split(": ")[1] for line in text.getvalue().splitlines()]
    assert lines == ["epoch 1/3", "epoch 2/3", "done in 0 s"]


def test_time_of_epochs_without_the_first(fake):
    recipe = replace(fake.RECIPE, arms=partial(fake.arms, traced=True))
    context = Context(recipe, console=Console(file=io.StringIO()))
    x, y = fake.points()
    run = next(context.runs())

    run.fit(x, y, epochs=4, validation_data=(x, y))

    counted = run.timing.wall_seconds[1:]
    assert len(counted) == 3 and run.timing.wall == pytest.approx(
        np.mean(counted)
    )
    assert run.timing.wall_seconds[0] > run.timing.wall  # It compiles.
    run.fit(x, y, epochs=1)
    assert math.isnan(run.timing.cpu)
    assert len(context.results.entry("small", 0).history["loss"]) == 5
