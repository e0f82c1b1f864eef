"""The command line: `tfdeep list`, `tfdeep show NAME`, `tfdeep run NAME`.

It lies beside the package `tfdeep`, whose import loads Keras and a backend,
and knows the recipes from a table. So help, lists and mistakes take a moment.

Exit codes of `run`: 0 if every claim held, 1 if one did not, 2 for an argument
that cannot be used, 3 if the run failed or its result could not be written,
130 if it was interrupted.
"""

import argparse
import contextlib
import json
import os
import re
import shlex
import sys
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

from tfdeep_command.arguments import (
    BadArgument,
    alone_in,
    check_data,
    check_folder,
    check_name,
    check_out,
    check_seed,
    check_workers,
    hint,
)
from tfdeep_command.output import Output

EXIT_CODES = {"held": 0, "not held": 1, "error": 3, "interrupted": 130}
BAD_ARGUMENT, FAILED, INTERRUPTED = 2, 3, 130
COMMANDS = ("list", "show", "run")
LOG_LEVEL = "TF_CPP_MIN_LOG_LEVEL"


def table() -> dict[str, Any]:
    """What the command line knows of the recipes and data sets.

    `tfdeep.recipes.table` writes it, and a test compares it with the recipes.
    """
    text = (Path(__file__).parent / "table.json").read_text(encoding="utf-8")
    return json.loads(text)


class Parser(argparse.ArgumentParser):
    """A parser whose errors end in one sentence."""

    def refuse(self, word: str) -> NoReturn:
        """Say that a word is not understood, and which option was meant."""
        word = word.partition("=")[0]
        if not word.startswith("-"):
            self.error(f"There is one word too many: {word!r}.")
        options = re.findall(r"--[a-z-]+", self.format_help())
        self.error(f"There is no option {word!r}{hint(word, options)}.")

    def error(self, message: str) -> NoReturn:
        """Print the usage and what is wrong; exit with 2."""
        self.print_usage(sys.stderr)
        print(f"{self.prog}: {message}", file=sys.stderr)
        raise SystemExit(BAD_ARGUMENT)


def parsers(version: str) -> dict[str | None, Parser]:
    """Return the parser of each command, that of the whole as `None`."""
    top = Parser(
        prog="tfdeep",
        description="Run the claims of papers on real data.",
        allow_abbrev=False,
    )
    top.add_argument("--version", action="version", version=f"tfdeep {version}")
    commands = top.add_subparsers(dest="command", metavar="list | show | run")
    commands.add_parser("list", help="the recipes", allow_abbrev=False)
    show = commands.add_parser(
        "show", help="a recipe's claims and scales", allow_abbrev=False
    )
    show.add_argument("recipe", help="name of the recipe, see `list`")
    run = commands.add_parser(
        "run",
        help="run a recipe",
        allow_abbrev=False,
        description="Run a recipe: train, compare with the paper, write "
        "result.json and pictures. Exits with 0 if the claims held, 1 if not, "
        "2 on bad arguments, 3 if the run failed or could not be written, 130 "
        "if it was interrupted.",
    )
    run.add_argument("recipe", help="name of the recipe, see `list`")
    run.add_argument("--data", help="name of the data set (the recipe's own)")
    run.add_argument(
        "--data-dir",
        type=Path,
        help="folder with the files of data sets (the variable "
        "TFDEEP_DATA_DIR)",
    )
    run.add_argument("--seed", default="0", help="the first seed (0)")
    run.add_argument("--out", type=Path, help="folder (runs/NAME-SCALE-seedN)")
    run.add_argument(
        "--scale", default="quick", help="quick, full or paper (quick)"
    )
    run.add_argument(
        "--workers",
        default="auto",
        help="processes that train arms side by side, where no claim compares "
        "their times (auto: as many as cores, 1 on a GPU)",
    )
    return {None: top} | commands.choices


def show_list(known: dict[str, Any]) -> None:
    """Print a line for each recipe."""
    recipes = known["recipes"]
    width = max(len(name) for name in recipes)
    for name, recipe in recipes.items():
        print(f"{name:{width}}  {recipe['title']}")
    print("\nIts claims: tfdeep show NAME. To run it: tfdeep run NAME.")


def show_recipe(name: str, recipe: dict[str, Any]) -> None:
    """Print what a recipe claims, and at which scales it runs."""
    print(f"{name}: {recipe['title']}")
    print(textwrap.fill(recipe["paper"], 80))
    print("\nClaims:")
    for claim in recipe["claims"]:
        print(indented(f"{claim['name']}: {claim['statement']}"))
        print(indented(f"paper: {claim['paper']}", "    "))
    print("\nScales:")
    for scale, about in recipe["scales"].items():
        data = about["data"] or recipe["data"]
        print(indented(f"{scale}: {about['about']}, on {data}"))
    print(f"\nTo run it: tfdeep run {name} [--scale SCALE] [--data DATA]")


def indented(text: str, by: str = "  ") -> str:
    """Return a paragraph of 80 columns, later lines two further in."""
    return textwrap.fill(
        text, 80, initial_indent=by, subsequent_indent=by + "  "
    )


def run_recipe(
    arguments: argparse.Namespace, known: dict[str, Any], command: str
) -> int:
    """Check the arguments and run; return the exit code.

    Raises:
        BadArgument: if an argument cannot be used.
    """
    name = check_name("recipe", arguments.recipe, known["recipes"])
    recipe = known["recipes"][name]
    scale = check_name("scale", arguments.scale, recipe["scales"])
    seed = check_seed(arguments.seed)
    if arguments.data is not None:
        check_data(arguments.data, known["data"])
    if arguments.data_dir is not None:
        folder = check_folder(arguments.data_dir)
        os.environ["TFDEEP_DATA_DIR"] = str(folder)  # For the workers, too.
    workers = check_workers(arguments.workers, name, recipe["independent"])
    out = check_out(
        arguments.out or Path("runs") / f"{name}-{scale}-seed{seed}"
    )
    with alone_in(out):
        with nothing_on_stderr():
            from tfdeep.recipes.runner import run

        status = run(name, out, scale, arguments.data, seed, command, workers)
    return EXIT_CODES[status]


def quiet_tensorflow() -> None:
    """Keep TensorFlow's log lines out of the progress bars.

    It reads its level when it is imported; where `python -m tfdeep` has done
    so, the process begins again with the level set.
    """
    if LOG_LEVEL in os.environ:
        return
    os.environ[LOG_LEVEL] = "3"
    if "tensorflow" in sys.modules:
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


@contextlib.contextmanager
def nothing_on_stderr() -> Iterator[None]:
    """Drop what libraries write there while they are imported.

    TensorFlow 2.21 reports on its devices before its log level holds, past
    Python's streams. An error of the import is raised all the same.
    """
    sys.stderr.flush()
    kept, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(kept, 2)
        os.close(kept)
        os.close(null)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code.

    Args:
        argv: the arguments after the program's name; those of the process if
            `None`.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    output = Output(sys.stdout)
    with contextlib.redirect_stdout(output):
        try:
            code = command_line(words, of_process=argv is None)
        except BadArgument as error:
            print(f"tfdeep: {error}", file=sys.stderr)
            code = BAD_ARGUMENT
        except KeyboardInterrupt:
            code = INTERRUPTED
        finally:
            output.flush()
    return FAILED if output.failure else code


def command_line(words: list[str], of_process: bool) -> int:
    """Do what the words ask for; return the exit code.

    Raises:
        BadArgument: if an argument cannot be used.
    """
    known = table()
    parser_of = parsers(known["version"])
    if words and not words[0].startswith("-"):
        check_name("command", words[0], COMMANDS)
    arguments, rest = parser_of[None].parse_known_args(words)
    if rest:
        parser_of[arguments.command].refuse(rest[0])
    if arguments.command == "list":
        show_list(known)
    elif arguments.command == "show":
        name = check_name("recipe", arguments.recipe, known["recipes"])
        show_recipe(name, known["recipes"][name])
    elif arguments.command == "run":
        if of_process:
            quiet_tensorflow()
        command = shlex.join(["tfdeep", *words])
        return run_recipe(arguments, known, command)
    else:
        parser_of[None].print_help()
        return BAD_ARGUMENT
    return 0
