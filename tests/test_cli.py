"""The command line: what it prints and its exit codes."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

import tfdeep.recipes
from tfdeep.__main__ import main

HERE = Path(__file__).parent


@pytest.fixture
def fake(monkeypatch, tmp_path):
    """The fake recipe as the only one, in an empty working folder."""
    monkeypatch.syspath_prepend(str(HERE / "recipes"))
    monkeypatch.setattr(tfdeep.recipes, "MODULES", ["fake_recipe"])
    monkeypatch.chdir(tmp_path)
    import fake_recipe

    quick = {**fake_recipe.SCALES, "quick": fake_recipe.scale(epochs=1)}
    soon_done = replace(fake_recipe.RECIPE, scales=quick)
    monkeypatch.setattr(fake_recipe, "RECIPE", soon_done)
    return fake_recipe


def result(out):
    return json.loads((out / "result.json").read_text(encoding="utf-8"))


def test_held_and_the_default_folder(fake, tmp_path, capsys):
    assert main(["run", "fake", "--seed", "3"]) == 0
    written = result(tmp_path / "runs" / "fake-quick-seed3")
    assert written["status"] == "held"
    assert written["command"] == "python -m tfdeep run fake --seed 3"
    assert "fake: held" in capsys.readouterr().out


def test_not_held(fake, tmp_path, monkeypatch):
    monkeypatch.setattr(fake, "RECIPE", fake.FALSE)
    assert main(["run", "fake", "--out", "here"]) == 1
    assert result(tmp_path / "here")["status"] == "not held"


def test_failed(fake, tmp_path):
    assert main(["run", "fake", "--out", "here", "--scale", "paper"]) == 3
    assert result(tmp_path / "here")["status"] == "error"


@pytest.mark.parametrize(
    "words, message",
    [
        (
            ["fak"],
            "There is no recipe 'fak'; choose fake (did you mean fake?).",
        ),
        (
            ["fake", "--scale", "x"],
            "no scale 'x'; choose quick, full or paper.",
        ),
        (
            ["fake", "--seed", "-2"],
            "The seed came as '-2'; choose a whole number",
        ),
        (["fake", "--data", "minst"], "There is no data set 'minst'; choose "),
        (["fake", "--out", "file/x"], "'file/x' cannot be written to"),
    ],
)
def test_bad_arguments_are_one_sentence(fake, tmp_path, capsys, words, message):
    (tmp_path / "file").touch()
    assert main(["run", *words]) == 2
    captured = capsys.readouterr()
    assert message in captured.err and captured.err.count("\n") == 1
    assert captured.out == ""
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_list(fake, capsys):
    assert main(["list"]) == 0
    text = capsys.readouterr().out
    for word in ("fake", "The large net", "Nobody 2020", "quick: 1 s"):
        assert word in text


@pytest.mark.parametrize(
    "words", [["--vers"], ["run"], ["run", "fake", "--sca"]]
)
def test_words_that_are_not_understood(fake, words, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(words)
    assert stopped.value.code == 2


def test_nothing_asked_shows_the_help(capsys):
    assert main([]) == 2
    assert "usage: tfdeep" in capsys.readouterr().out


def test_version(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["--version"])
    assert stopped.value.code == 0
    assert capsys.readouterr().out == f"tfdeep {tfdeep.__version__}\n"


def test_recipes_import_neither_keras_nor_a_backend(tmp_path):
    """Listing costs what `import tfdeep` costs, and nothing more."""
    program = (
        "import sys, types, importlib.util as u\n"
        "spec = u.find_spec('tfdeep')\n"
        "bare = types.ModuleType('tfdeep')\n"
        "bare.__path__ = spec.submodule_search_locations\n"
        "bare.__version__ = '0'\n"
        "sys.modules['tfdeep'] = bare\n"
        "import tfdeep.__main__ as m\n"
        "m.main(['list'])\n"
        "print({'keras', 'tensorflow', 'jax'} & set(sys.modules))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(["", *sys.path])},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.stdout.endswith("set()\n"), done.stdout + done.stderr


@pytest.fixture
def ctrl_c():
    """Python's own answer to Ctrl-C: in the background it may be ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield lambda: os.kill(os.getpid(), signal.SIGINT)
    signal.signal(signal.SIGINT, before)


def test_interrupt_leaves_a_partial_result(fake, tmp_path, capfd, ctrl_c):
    def first_arm_done():
        try:
            return len(result(tmp_path)["arms"].get("small", {})) == 2
        except FileNotFoundError:
            return False

    def press():
        end = time.monotonic() + 120
        while not first_arm_done() and time.monotonic() < end:
            time.sleep(0.05)
        time.sleep(0.2)  # The second arm trains for ever.
        ctrl_c()

    threading.Thread(target=press, daemon=True).start()
    words = ["run", "fake", "--scale", "full", "--out", str(tmp_path)]
    assert main(words) == 130

    partial = result(tmp_path)
    assert partial["status"] == "interrupted"
    assert partial["claims"][0]["held"] is None
    assert set(partial["arms"]["small"]["0"]["metrics"]) == {"error", "seconds"}
    out, err = capfd.readouterr()
    assert "Interrupted" in out and "not judged" in out
    assert "Stopping after this batch" in err and "Traceback" not in err
    assert not list(tmp_path.glob(".*"))
