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

import tfdeep
import tfdeep.recipes
import tfdeep_command
from tfdeep.recipes.table import table
from tfdeep_command import main

RECIPES = Path(__file__).parents[1] / "recipes"


@pytest.fixture
def fake(monkeypatch, tmp_path):
    """The fake recipe as the only one, in an empty working folder."""
    monkeypatch.syspath_prepend(str(RECIPES))
    monkeypatch.setattr(tfdeep.recipes, "MODULES", ["fake_recipe"])
    monkeypatch.chdir(tmp_path)
    import fake_recipe

    quick = {**fake_recipe.SCALES, "quick": fake_recipe.scale(epochs=1)}
    soon_done = replace(fake_recipe.RECIPE, scales=quick)
    monkeypatch.setattr(fake_recipe, "RECIPE", soon_done)
    monkeypatch.setattr(tfdeep_command, "table", table)
    return fake_recipe


def result(out):
    return json.loads((out / "result.json").read_text(encoding="utf-8"))


def test_held_and_the_default_folder(fake, tmp_path, capsys):
    assert main(["run", "fake", "--seed", "3"]) == 0
    written = result(tmp_path / "runs" / "fake-quick-seed3")
    assert written["status"] == "held"
    assert written["command"] == "tfdeep run fake --seed 3"
    assert "fake: held" in capsys.readouterr().out


def test_the_folder_of_the_data(fake, tmp_path, monkeypatch):
    monkeypatch.setenv("TFDEEP_DATA_DIR", "another")

    def runner(*arguments):
        return {tmp_path: "held"}[Path(os.environ["TFDEEP_DATA_DIR"])]

    monkeypatch.setattr("tfdeep.recipes.runner.run", runner)
    assert main(["run", "fake", "--data-dir", "."]) == 0


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
            "The seed must be a whole number from 0",
        ),
        (["fake", "--data", "minst"], "There is no data set 'minst'; choose "),
        (["fake", "--data", "imagenet2012"], "which imagenet2012 does not fit"),
        (["fake", "--data-dir", "none"], "There is no folder 'none'"),
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


def test_list_has_a_line_for_each_recipe_within_80_columns(capsys):
    assert main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    names = list(tfdeep.recipes.recipes())
    assert [line.split()[0] for line in lines[: len(names)]] == names
    assert max(map(len, lines)) <= 80


def test_show_has_the_claims(fake, capsys):
    assert main(["show", "fake"]) == 0
    text = capsys.readouterr().out
    for word in ("The large net errs", "Nobody 2020", "quick: 1 s, on digits"):
        assert word in text
    assert main(["show", "fale"]) == 2


def test_the_table_is_that_of_the_recipes():
    """After a change of a recipe: `python -m tfdeep.recipes.table`."""
    assert tfdeep_command.table() == table()


@pytest.mark.parametrize(
    "words, usage, message",
    [
        (["--vers"], "usage: tfdeep [", "(did you mean --version?)"),
        (["run"], "usage: tfdeep run", "required: recipe"),
        (["run", "fake", "--sca"], "usage: tfdeep run", "no option '--sca'"),
        (
            ["run", "fake", "--dataset=digits"],
            "usage: tfdeep run",
            "There is no option '--dataset' (did you mean --data?).",
        ),
        (["list", "x"], "usage: tfdeep list", "one word too many: 'x'"),
    ],
)
def test_words_that_are_not_understood(fake, words, usage, message, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(words)
    assert stopped.value.code == 2
    text = capsys.readouterr().err
    assert text.startswith(usage) and message in text.splitlines()[-1]


def test_a_command_that_is_not_known(capsys):
    assert main(["rnu", "tour"]) == 2
    assert "(did you mean run?)" in capsys.readouterr().err


def test_nothing_asked_shows_the_help(capsys):
    assert main([]) == 2
    assert "usage: tfdeep" in capsys.readouterr().out


def test_version(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["--version"])
    assert stopped.value.code == 0
    assert capsys.readouterr().out == f"tfdeep {tfdeep.__version__}\n"


def script(words, program="", **options):
    """Run the console script in a process of its own."""
    program += (
        "import sys, tfdeep_command\n"
        "code = tfdeep_command.main(sys.argv[1:])\n"
        "print({'keras', 'tfdeep', 'numpy'} & set(sys.modules), flush=True,\n"
        "      file=sys.stderr)\n"
        "sys.exit(code)\n"
    )
    return subprocess.run(
        [sys.executable, "-c", program, *words],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(["", *sys.path])},
        text=True,
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options},
    )


@pytest.mark.parametrize(
    "words, code", [(["list"], 0), (["show", "tour"], 0), (["run", "tuor"], 2)]
)
def test_what_needs_no_package_imports_none(words, code):
    before = os.times().children_user
    done = script(words)
    spent = os.times().children_user - before
    assert done.returncode == code
    assert done.stderr.endswith("set()\n")
    assert spent < 1.0


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_output_that_cannot_be_written_is_an_error():
    with open("/dev/full", "w") as full:
        done = script(["list"], stdout=full)
    assert done.returncode == 3
    assert "No space left on device" in done.stderr


def test_a_reader_that_left_changes_nothing():
    read, write = os.pipe()
    os.close(read)
    done = script(["list"], stdout=write)
    os.close(write)
    assert done.returncode == 0
    assert "rror" not in done.stderr


def test_the_log_level_is_set_before_tensorflow_is_there(monkeypatch):
    begun = []
    monkeypatch.delenv(tfdeep_command.LOG_LEVEL, raising=False)
    monkeypatch.setattr(os, "execv", lambda *words: begun.append(words))
    monkeypatch.delitem(sys.modules, "tensorflow", raising=False)
    tfdeep_command.quiet_tensorflow()
    assert os.environ.pop(tfdeep_command.LOG_LEVEL) == "3" and not begun
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    tfdeep_command.quiet_tensorflow()
    ((program, words),) = begun  # `python -m tfdeep` begins again.
    assert program == words[0] == sys.executable
    assert words[1:] == sys.orig_argv[1:]
    tfdeep_command.quiet_tensorflow()
    assert len(begun) == 1


@pytest.fixture(params=["SIGINT", "SIGTERM"])
def ctrl_c(request):
    """Python's own answer to Ctrl-C: in the background it may be ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield lambda: os.kill(os.getpid(), getattr(signal, request.param))
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
