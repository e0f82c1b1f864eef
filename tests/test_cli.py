"""The command line: what it prints and its exit codes."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import tfdeep.recipes
from tfdeep.__main__ import main

HERE = Path(__file__).parent
FAKE_CLI = HERE / "recipes" / "fake_cli.py"
# The backend of this run of the tests, and the package it tests.
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(["", *sys.path])}


@pytest.fixture
def fake(monkeypatch, tmp_path):
    """The fake recipe as the only one, in an empty working folder."""
    monkeypatch.syspath_prepend(str(HERE / "recipes"))
    monkeypatch.setattr(tfdeep.recipes, "MODULES", ["fake_recipe"])
    monkeypatch.chdir(tmp_path)
    import fake_recipe

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


def test_list_as_a_module(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "tfdeep", "list"],
        env=ENVIRONMENT, cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0 and "Recipes" in done.stdout


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
        env=ENVIRONMENT, cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert done.stdout.endswith("set()\n"), done.stdout + done.stderr


def wait_for(condition, process, seconds=50):
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.05)


def test_interrupt_leaves_a_partial_result(tmp_path):
    def first_arm_done():
        try:
            return len(result(tmp_path)["arms"].get("small", {})) == 2
        except FileNotFoundError:
            return False

    process = subprocess.Popen(
        [sys.executable, FAKE_CLI, "run", "fake", "--scale", "full", "--out", tmp_path],
        env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        wait_for(first_arm_done, process)
        time.sleep(0.5)  # The second arm trains for ever.
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    finally:
        process.kill()

    assert process.returncode == 130
    partial = result(tmp_path)
    assert partial["status"] == "interrupted"
    assert partial["claims"][0]["held"] is None
    assert set(partial["arms"]["small"]["0"]["metrics"]) == {"error", "seconds"}
    assert "Interrupted" in out and "not judged" in out
    assert "Stopping after this batch" in err and "Traceback" not in err
    assert not list(tmp_path.glob(".*"))
