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
from tfdeep.recipes.runner import Runner
from tfdeep.recipes.workers import fitting

HERE = Path(__file__).parent


@pytest.fixture
def fake(monkeypatch):
    """The fake recipe with a single epoch."""
    monkeypatch.syspath_prepend(str(HERE))
    import fake_recipe

    scales = {"quick": fake_recipe.scale(epochs=1)}
    return replace(
        fake_recipe.RECIPE,
        independent=True,
        scales=scales,
        claims=(),
    )


def run(recipe, out, workers, **arguments):
    """Run and return `result.json` and what was printed."""
    text = io.StringIO()
    console = Console(file=text, width=30)
    Runner(recipe, out, console=console, workers=workers, **arguments).run()
    content = json.loads((out / "result.json").read_text(encoding="utf-8"))
    return content, text.getvalue()


@pytest.mark.slow
def test_workers_measure_what_one_process_does(fake, tmp_path):
    (two, text), (one, _) = (run(fake, tmp_path, n, seed=3) for n in (2, 1))

    assert two["status"] == one["status"] == "held"
    assert [two["workers"], one["workers"]] == [2, 1]
    assert list(two["arms"]) == list(one["arms"]) == ["small", "large"]
    assert (
        list(two["arms"]["large"]) == list(one["arms"]["large"]) == ["3", "4"]
    )
    for seed, entry in one["arms"]["large"].items():
        other = two["arms"]["large"][seed]
        for key in ("loss", "val_accuracy"):
            expected = pytest.approx(entry["history"][key], abs=1e-6)
            assert other["history"][key] == expected
        assert other["metrics"].keys() == entry["metrics"].keys()
    # The workers' CPU time counts.
    entries = two["arms"]["large"].values()
    seconds = [sum(entry["history"]["cpu_seconds"]) for entry in entries]
    assert two["cpu_seconds"] > sum(seconds)
    assert "  large, seed 4: done in" in text  # In one line.


def start(scale, folder):
    """Begin `idle.py` in a folder, in a session of its own."""
    paths = os.pathsep.join(["", *sys.path])
    return subprocess.Popen(
        [sys.executable, HERE / "idle.py", scale],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": paths},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def test_arms_keep_their_order_and_say_what_they_have_to(tmp_path):
    whole = start("end", tmp_path)
    out, err = whole.communicate(timeout=120)
    assert whole.returncode == 0, err
    assert err == ""  # Libraries write into no progress bar.
    found = arms(tmp_path)
    assert list(found) == ["small", "large"]
    for seeds in found.values():
        assert [seeds[s]["metrics"]["error"] for s in "01"] == [0.0, 0.5]
    assert {f"{arm}, seed 1" for arm in found} <= set(out.splitlines())


def test_an_error_in_a_worker_ends_the_run_and_keeps_what_was_done(tmp_path):
    failed = start("fail", tmp_path)
    _, err = failed.communicate(timeout=120)
    assert failed.returncode == 1
    assert err.splitlines()[-1] == "RuntimeError: the idle recipe fails"
    assert 'idle.py", line' in err and "in run\n" in err  # Where it failed.
    assert list(arms(tmp_path)["large"]) == ["0"]  # One seed of two.


@pytest.fixture
def running(tmp_path):
    """A run of which one arm is done; of the other one seed, it goes on."""
    process = start("wait", tmp_path)
    try:
        end = time.monotonic() + 300
        while len(arms(tmp_path)) < 2:
            assert process.poll() is None and time.monotonic() < end
            time.sleep(0.1)
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def arms(folder):
    try:
        return json.loads((folder / "arms.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}


def test_ctrl_c_stops_the_workers(running, tmp_path):
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=120)

    assert running.returncode == 0 and out.splitlines()[-1] == "interrupted"
    assert "Stopping after this batch" in err and "Traceback" not in err
    assert len(arms(tmp_path)["small"]) == 2
    assert len(arms(tmp_path)["large"]) == 1  # Of two, and it is kept.


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="reads /proc")
def test_a_killed_worker_is_said_and_what_was_done_is_kept(running, tmp_path):
    listed = f"/proc/{running.pid}/task/{running.pid}/children"
    children = [int(each) for each in Path(listed).read_text().split()]
    commands = {c: Path(f"/proc/{c}/cmdline").read_bytes() for c in children}
    workers = [c for c in children if b"spawn_main" in commands[c]]
    os.kill(workers[0], signal.SIGKILL)
    _, err = running.communicate(timeout=120)
    assert running.returncode == 1
    assert "a line of a library" in err  # It may say why.
    assert "WorkerLostError: A worker was killed" in err.splitlines()[-1]
    found = arms(tmp_path)
    assert (len(found["small"]), len(found["large"])) == (2, 1)


def test_workers_end_with_their_parent(running):
    running.kill()
    # The workers hold its output open for as long as they live.
    running.communicate(timeout=120)


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
    assert fitting(fake) == 4
    assert fitting(replace(fake, independent=False)) == 1
    monkeypatch.setattr(where + "accelerators", lambda: 1)
    assert fitting(fake) == 1
