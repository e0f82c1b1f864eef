"""Checks of the command line's arguments, made before anything is imported."""

import difflib
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

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
        tfdeep_command.arguments.BadArgument: There is no scale 'quik'; \
choose quick or full (did you mean quick?).
    """
    choices = list(choices)
    if name in choices:
        return name
    raise BadArgument(
        f"There is no {kind} {name!r}; choose {listed(choices)}"
        f"{hint(name, choices)}."
    )


def hint(name: str, choices: Iterable[str]) -> str:
    """Return the choice that may have been meant, in brackets, or nothing.

    Example:
        >>> hint("--dataset", ["--data", "--seed"])
        ' (did you mean --data?)'
    """
    near = difflib.get_close_matches(name, list(choices), n=1)
    return f" (did you mean {near[0]}?)" if near else ""


def listed(choices: list[str]) -> str:
    """Return the choices as in a sentence.

    Example:
        >>> listed(["a", "b", "c"])
        'a, b or c'
    """
    if len(choices) < 2:
        return "".join(choices)
    return ", ".join(choices[:-1]) + " or " + choices[-1]


def check_data(name: str, sets: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the name of a data set that a recipe can read.

    Args:
        name: the name.
        sets: what is known of each set by name, of which "small" is used.

    Raises:
        BadArgument: if there is none of that name, or it is too large.
    """
    check_name("data set", name, sets)
    if not sets[name]["small"]:
        fitting = listed([each for each in sets if sets[each]["small"]])
        raise BadArgument(
            f"The recipes read a whole data set into memory, which {name} "
            f"does not fit; choose {fitting}."
        )
    return name


def check_folder(folder: Path) -> Path:
    """Return the whole path of a folder that is there.

    Raises:
        BadArgument: if it is not.
    """
    if not folder.is_dir():
        raise BadArgument(
            f"There is no folder {str(folder)!r}; give the one that holds the "
            "data as --data-dir."
        )
    return folder.resolve()


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
            f"The seed must be a whole number from 0 to {LARGEST_SEED}. "
            f"Received: {text!r}."
        )
    return seed


def check_workers(text: str, name: str, independent: bool) -> int | None:
    """Return the number of processes for a recipe, `None` for "auto".

    Args:
        text: what was asked for.
        name: the recipe's name.
        independent: whether its arms may be trained side by side.

    Raises:
        BadArgument: if it is neither "auto" nor a number from 1 on, or if
            there are to be several for arms that depend on each other.
    """
    if text == "auto":
        return None
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise BadArgument(
            "The workers must be a whole number from 1 on, or auto. "
            f"Received: {text!r}."
        )
    if int(text) > 1 and not independent:
        raise BadArgument(
            f"{text} workers cannot share the recipe {name}: its arms "
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


@contextmanager
def alone_in(out: Path) -> Iterator[None]:
    """Hold the folder `out` against other runs, which would write over it.

    The operating system drops the lock of a process that dies. Where it has
    no such locks, on Windows, nothing is held.

    Raises:
        BadArgument: if another run holds it.
    """
    try:
        import fcntl
    except ImportError:
        yield
        return
    folder = os.open(out, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(folder)
        raise BadArgument(
            f"Another run is writing to the folder {str(out)!r}; choose "
            "another one with --out."
        ) from error
    except OSError:
        pass  # A file system without locks.
    try:
        yield
    finally:
        os.close(folder)
