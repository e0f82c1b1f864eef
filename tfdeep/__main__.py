"""The command line: `python -m tfdeep list` and `python -m tfdeep run NAME`.

Exit codes of `run`: 0 if every claim held, 1 if one did not, 2 for an argument
that cannot be used, 3 if the run failed, 130 if it was interrupted.
"""

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

import tfdeep
from tfdeep.recipes import Recipe, recipes
from tfdeep.recipes.arguments import (
    BadArgument,
    check_name,
    check_out,
    check_seed,
    check_workers,
)

EXIT_CODES = {"held": 0, "not held": 1, "error": 3, "interrupted": 130}
BAD_ARGUMENT, INTERRUPTED = 2, 130


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    top = argparse.ArgumentParser(
        prog="tfdeep",
        description="Run the claims of papers on real data.",
        allow_abbrev=False,
    )
    top.add_argument(
        "--version", action="version", version=f"tfdeep {tfdeep.__version__}"
    )
    commands = top.add_subparsers(dest="command", metavar="list | run")
    commands.add_parser("list", help="show the recipes")
    run = commands.add_parser(
        "run",
        help="run a recipe",
        allow_abbrev=False,
        description="Run a recipe: train, compare with the paper, write "
        "result.json and pictures. Exits 0 if the claims held, 1 if not, 2 on "
        "bad arguments, 3 if the run failed, 130 if it was interrupted.",
    )
    run.add_argument("recipe", help="name of the recipe, see `list`")
    run.add_argument("--data", help="name of the data set (the recipe's own)")
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
    return top


def show_list(console: Console) -> int:
    """Print the table of recipes; return the exit code."""
    table = Table(title="Recipes", show_lines=True, expand=True)
    table.add_column("name", no_wrap=True)
    for name, share in (("claim", 3), ("paper", 2), ("scales and how long", 2)):
        table.add_column(name, ratio=share, overflow="fold")
    for recipe in recipes().values():
        claims = "\n".join(claim.statement for claim in recipe.claims)
        scales = "\n".join(f"{n}: {s.about}" for n, s in recipe.scales.items())
        cells = (recipe.name, claims, recipe.paper, scales)
        table.add_row(*(Text(cell) for cell in cells))
    console.print(table)
    console.print("Run one: python -m tfdeep run NAME", markup=False)
    return 0


def run_recipe(
    arguments: argparse.Namespace, console: Console, command: str
) -> int:
    """Check the arguments and run; return the exit code.

    Raises:
        BadArgument: if an argument cannot be used.
    """
    recipe = find(arguments.recipe)
    scale = check_name("scale", arguments.scale, recipe.scales)
    seed = check_seed(arguments.seed)
    if arguments.data is not None:
        from tfdeep import data

        check_name("data set", arguments.data, data.names())
    name = f"{recipe.name}-{scale}-seed{seed}"
    out = check_out(arguments.out or Path("runs") / name)

    workers = check_workers(arguments.workers, recipe)

    from tfdeep.recipes.runner import Runner

    runner = Runner(
        recipe, out, scale, arguments.data, seed, command, console, workers
    )
    return EXIT_CODES[runner.run()]


def find(name: str) -> Recipe:
    """Return the recipe of that name.

    Raises:
        BadArgument: if there is none.
    """
    found = recipes()
    return found[check_name("recipe", name, found)]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code.

    Args:
        argv: the arguments after the program's name; those of the process if
            `None`.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    top = parser()
    arguments = top.parse_args(words)
    console = Console()
    try:
        if arguments.command == "list":
            return show_list(console)
        if arguments.command == "run":
            command = shlex.join(["python", "-m", "tfdeep", *words])
            return run_recipe(arguments, console, command)
    except BadArgument as error:
        print(f"tfdeep: {error}", file=sys.stderr)
        return BAD_ARGUMENT
    except KeyboardInterrupt:
        return INTERRUPTED
    top.print_help()
    return BAD_ARGUMENT


if __name__ == "__main__":
    sys.exit(main())
