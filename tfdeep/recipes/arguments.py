"""Checks of the command line's arguments, made before anything is trained."""

import difflib
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

from tfdeep.recipes.recipe import Recipe
from tfdeep.recipes.workers import fitting

LARGEST_SEED = 2_000_000_000


class BadArgument(ValueError):
    """An argument of the command line that cannot be used."""


def check_name(kind: str, name: str, choices: Iterable[str]) -> str:
    """Return `name` if it is one of `choices`.

    Raises:
        BadArgument: if it is not; the message names the choices.

    Example:
        >>> check_name("scale", "quik", ["quick", "full"])
        Traceback (most recent call last):
        tfdeep.recipes.arguments.BadArgument: There is no scale 'quik'; \
choose quick or full (did you mean quick?).
    """
    choices = list(choices)
    if name in choices:
        return name
    near = difflib.get_close_matches(name, choices, n=1)
    hint = f" (did you mean {near[0]}?)" if near else ""
    raise BadArgument(
        f"There is no {kind} {name!r}; choose {listed(choices)}{hint}."
    )


def listed(choices: list[str]) -> str:
    """Return the choices as in a sentence.

    Example:
        >>> listed(["a", "b", "c"])
        'a, b or c'
    """
    if len(choices) < 2:
        return "".join(choices)
    return ", ".join(choices[:-1]) + " or " + choices[-1]


def check_seed(text: str) -> int:
    """Return the seed as an integer.

    Raises:
        BadArgument: if it is not a whole number in the range.
    """
    try:
        seed = int(text)
    except ValueError:
        seed = -1
    if not 0 <= seed <= LARGEST_SEED:
        raise BadArgument(
            f"The seed came as {text!r}; choose a whole number from 0 to "
            f"{LARGEST_SEED}."
        )
    return seed


def check_workers(text: str, recipe: Recipe) -> int:
    """Return the number of processes for the recipe.

    Raises:
        BadArgument: if it is neither "auto" nor a number from 1 on, or if
            there are to be several for arms that depend on each other.
    """
    if text == "auto":
        return fitting(recipe)
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise BadArgument(
            f"The workers came as {text!r}; choose a whole number from 1 on, "
            "or auto."
        )
    if int(text) > 1 and not recipe.independent:
        raise BadArgument(
            f"{text} workers cannot share the recipe {recipe.name}: its arms "
            "are compared by their time or need each other's results. Leave "
            "--workers out."
        )
    return int(text)


def check_out(out: Path) -> Path:
    """Make the folder `out` and return it.

    Raises:
        BadArgument: if no file can be written there.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=out)
        os.close(handle)
        os.unlink(name)
    except OSError as error:
        raise BadArgument(
            f"The folder {str(out)!r} cannot be written to "
            f"({error.strerror or error}); choose another one with --out."
        ) from error
    return out
