"""Arms trained side by side leave what one process would have left."""

import io
import json
import os
import pickle
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from tfdeep.recipes import recipes
from tfdeep.recipes.arguments import BadArgument, check_workers
from tfdeep.recipes.runner import Runner
from tfdeep.recipes.workers import fitting

HERE = Path(__file__).parent


@pytest.fixture
def fake(monkeypatch):
    monkeypatch.syspath_prepend(str(HERE))
    import fake_recipe

    return replace(fake_recipe.RECIPE, independent=True)


def run(recipe, out, workers, **arguments):
    """Run and return `result.json` and what was printed."""
    text = io.StringIO()
    console = Console(file=text, width=30)
    Runner(recipe, out, console=console, workers=workers, **arguments).run()
    content = json.loads((out / "result.json").read_text(encoding="utf-8"))
    return content, text.getvalue()


def test_two_workers_measure_what_one_process_does(fake, tmp_path):
    (two, text), (one, _) = (run(fake, tmp_path, n, seed=3) for n in (2, 1))

    assert two["status"] == one["status"] == "held"
    assert [two["workers"], one["workers"]] == [2, 1]
    assert list(two["arms"]) == list(one["arms"]) == ["small", "large"]
    for arm, seeds in one["arms"].items():
        assert list(two["arms"][arm]) == list(seeds) == ["3", "4"]
        for seed, entry in seeds.items():
            other = two["arms"][arm][seed]
            for key in ("loss", "val_accuracy"):
                expected = pytest.approx(entry["history"][key], abs=1e-6)
                assert other["history"][key] == expected
            assert other["metrics"].keys() == entry["metrics"].keys()
    # The workers' CPU time counts.
    seconds = [
        sum(entry["history"]["cpu_seconds"])
        for seeds in two["arms"].values()
        for entry in seeds.values()
    ]
    assert two["cpu_seconds"] > sum(seconds)
    for arm in ("small", "large"):
        assert f"  {arm}, seed 4: done in" in text  # In one line each.


def test_an_error_in_a_worker_ends_the_run(fake, tmp_path, capfd):
    result, _ = run(fake, tmp_path, 2, scale="paper")

    assert result["status"] == "error"
    assert result["error"] == "RuntimeError: the fake recipe fails"
    assert "fake_recipe.py" in capfd.readouterr().err  # Where it failed.


PROGRAM = """
import signal
from dataclasses import replace
from pathlib import Path
import fake_recipe
from tfdeep.recipes.runner import Runner
if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    recipe = replace(fake_recipe.RECIPE, independent=True)
    print(Runner(recipe, Path("."), "full", workers=2).run())
"""


@pytest.fixture
def running(tmp_path):
    """A run of which one arm is done, while the other trains for ever."""
    (tmp_path / "program.py").write_text(PROGRAM, encoding="utf-8")
    process = subprocess.Popen(
        [sys.executable, "program.py"],
        cwd=tmp_path, env=environment(), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        start_new_session=True,
    )  # fmt: skip
    try:
        end = time.monotonic() + 300
        while "small" not in arms(tmp_path):
            assert process.poll() is None and time.monotonic() < end
            time.sleep(0.1)
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def test_ctrl_c_stops_the_workers(running, tmp_path):
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=120)

    assert out.splitlines()[-1] == "interrupted"
    assert "Stopping after this batch" in err and "Traceback" not in err
    assert len(arms(tmp_path)["small"]) == 2


def test_workers_end_with_their_parent(running):
    running.kill()
    # The workers hold its output open for as long as they live.
    running.communicate(timeout=120)


def environment():
    paths = ["", str(HERE), *sys.path]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


def arms(out):
    try:
        text = (out / "result.json").read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    return json.loads(text)["arms"]


INDEPENDENT = [name for name, each in recipes().items() if each.independent]


@pytest.mark.parametrize("name", INDEPENDENT)
def test_a_recipe_reaches_a_worker(name):
    recipe = recipes()[name]
    there = pickle.loads(pickle.dumps(recipe))
    assert (there.name, there.scales) == (name, recipe.scales)


def test_the_number_of_workers(fake, monkeypatch):
    where = "tfdeep.recipes.workers."
    monkeypatch.setattr(where + "usable_cpus", lambda: 4)
    monkeypatch.setattr(where + "accelerators", lambda: 0)
    assert check_workers("auto", fake) == 4
    assert check_workers("2", fake) == 2
    assert fitting(replace(fake, independent=False)) == 1
    monkeypatch.setattr(where + "accelerators", lambda: 1)
    assert fitting(fake) == 1


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "two", ""])
def test_workers_that_are_none(fake, text):
    with pytest.raises(BadArgument, match="whole number from 1 on, or auto"):
        check_workers(text, fake)


def test_arms_that_depend_on_each_other():
    with pytest.raises(BadArgument, match="2 workers cannot share .* wide:"):
        check_workers("2", recipes()["wide"])
