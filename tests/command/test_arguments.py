"""Arguments of the command line that cannot be used, each in one sentence."""

import subprocess
import sys

import pytest

from tfdeep_command.arguments import (
    BadArgument,
    alone_in,
    check_data,
    check_name,
    check_out,
    check_seed,
    check_workers,
)


def test_names_are_suggested():
    with pytest.raises(
        BadArgument, match=r"no recipe 'widr'; choose wide or dense \("
    ):
        check_name("recipe", "widr", ["wide", "dense"])


@pytest.mark.parametrize("text", ["-1", "1.5", "x", "", "99999999999"])
def test_bad_seeds(text):
    with pytest.raises(BadArgument, match="whole number from 0"):
        check_seed(text)
    assert check_seed("12") == 12


def test_out_is_made_and_left_empty(tmp_path):
    out = check_out(tmp_path / "a" / "b")
    assert list(out.iterdir()) == []


def test_out_below_a_file(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(BadArgument, match="cannot be written.*--out"):
        check_out(tmp_path / "file" / "below")


def test_workers():
    assert check_workers("auto", "wide", False) is None
    assert check_workers("2", "residual", True) == 2
    assert check_workers("1", "wide", False) == 1


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "two", ""])
def test_workers_that_are_none(text):
    with pytest.raises(BadArgument, match="whole number from 1 on, or auto"):
        check_workers(text, "fake", True)


def test_arms_that_depend_on_each_other():
    with pytest.raises(BadArgument, match="2 workers cannot share .* wide:"):
        check_workers("2", "wide", False)


def test_a_set_that_does_not_fit_into_memory():
    sets = {"digits": {"small": True}, "imagenet2012": {"small": False}}
    assert check_data("digits", sets) == "digits"
    with pytest.raises(BadArgument, match="imagenet2012 does not fit; choose"):
        check_data("imagenet2012", sets)


def test_a_folder_holds_one_run(tmp_path):
    holder = (
        "import sys, tfdeep_command.arguments as a\n"
        "with a.alone_in(sys.argv[1]):\n"
        "    print('held', flush=True)\n"
        "    sys.stdin.read()\n"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", holder, tmp_path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert other.stdout.readline() == "held\n"
    with pytest.raises(BadArgument, match="Another run is writing"):
        with alone_in(tmp_path):
            pass
    other.kill()
    other.communicate()
    with alone_in(tmp_path):  # The lock of a killed process is gone.
        assert list(tmp_path.iterdir()) == []
