"""A prepared TFDS builder, or an error that says what can be had instead.

TFDS writes into a directory named "incomplete.*" and renames it at the end, so
a prepared set is whole or absent. Here are added: one process prepares a set
at a time, what a killed run left of an embedded set is removed, and a set out
of reach is told from a set that takes long.
"""

import contextlib
import importlib
import shutil
import sys
from pathlib import Path

from tfdeep.data.registry import DataInfo, names

# Seconds to wait for the server to be reached and to answer.
PATIENCE = 10
_EMBEDDED = {
    "digits": ("tfdeep.data.digits", "Digits"),
    "mnist5k": ("tfdeep.data.mnist5k", "Mnist5k"),
}


class DataUnavailableError(RuntimeError):
    """A data set could neither be found on the disk nor be prepared."""


def unavailable(entry: DataInfo, reason: BaseException) -> DataUnavailableError:
    """The one error for a set that cannot be had."""
    text = " ".join(str(reason).split()) or type(reason).__name__
    return DataUnavailableError(
        f"The data set {entry.name!r} could not be prepared: {text[:300]} "
        "It must be downloaded or be on the disk already. Use a set that "
        f"needs no network ({', '.join(names(offline=True))}), or pass as "
        f"`data_dir` the TFDS directory that holds {entry.name!r}."
    )


def missing_package(error: ImportError) -> ImportError:
    """The one error for an environment without the extra `datasets`."""
    return ImportError(
        f"The package {error.name!r} is missing. `tfdeep.data.load` reads "
        "every set through TensorFlow Datasets. Install what it needs with "
        "`pip install 'tfdeep[datasets]'`."
    )


def builder(entry: DataInfo, data_dir: str | None = None):
    """The TFDS builder of a set, prepared.

    Args:
        entry: a `DataInfo`.
        data_dir: optional string, TFDS' directory. By default that of TFDS:
            the variable TFDS_DATA_DIR, else `~/tensorflow_datasets`.

    Returns:
        A `tfds.core.DatasetBuilder` to read from.

    Raises:
        DataUnavailableError: if the set cannot be had.
        ImportError: if a package of the extra `datasets` is missing.
    """
    try:
        made = _unprepared(entry, data_dir)
        if not Path(made.data_path).exists():
            with only_one(Path(made.data_path)):
                _prepare(entry, made)
            # One made before another process prepared the set knows no splits.
            made = _unprepared(entry, data_dir)
    except ImportError as error:
        raise missing_package(error) from error
    return made


def _unprepared(entry: DataInfo, data_dir: str | None):
    if entry.name not in _EMBEDDED:
        import tensorflow_datasets as tfds

        return tfds.builder(entry.name, data_dir=data_dir)
    module, name = _EMBEDDED[entry.name]
    return getattr(importlib.import_module(module), name)(data_dir=data_dir)


def _prepare(entry: DataInfo, made) -> None:
    if Path(
        made.data_path
    ).exists():  # prepared by whoever held the lock before
        return
    try:
        if entry.offline:
            remove_leftovers(Path(made.data_path))
        elif entry.address:
            check_reachable(
                entry, Path(made.data_path).parents[1] / "downloads"
            )
        # What a user's script prints is not to be mixed with TFDS' progress.
        with contextlib.redirect_stdout(sys.stderr):
            made.download_and_prepare()
    except ImportError:
        raise
    except Exception as error:
        # TFDS, requests, tar, checksums, AssertionError where a set must be
        # fetched by hand: whatever it is, the advice is the same.
        raise unavailable(entry, error) from error


@contextlib.contextmanager
def only_one(path: Path):
    """Let one process at a time prepare the set that goes to `path`.

    The operating system drops the lock of a process that dies. Without
    `fcntl` (Windows) there is no lock: do not prepare twice at once there.
    """
    try:
        import fcntl
    except ImportError:
        yield
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path.parent / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def remove_leftovers(path: Path) -> None:
    """Remove what killed preparations of `path` left; hold the lock."""
    for left in path.parent.glob(f"incomplete.*_{path.name}"):
        shutil.rmtree(left, ignore_errors=True)


def check_reachable(entry: DataInfo, downloads: Path) -> None:
    """Raise `OSError` within seconds if the set's server cannot be reached.

    TFDS tries ten times with growing pauses, which takes many minutes. A
    file downloaded before needs no server.
    """
    notes = downloads.glob("**/*.INFO")
    if any(entry.address in note.read_text() for note in notes):
        return
    import requests

    requests.head(entry.address, timeout=PATIENCE, allow_redirects=False)
