"""A prepared TFDS builder, or an error that says what can be had instead.

TFDS writes into a directory named "incomplete.*" and renames it at the end, so
a prepared set is whole or absent. Here are added: one process prepares a set
at a time, a set out of reach is told from a set that takes long, and one whose
files were cut is not read.
"""

import contextlib
import sys
from pathlib import Path

from tfdeep.data.registry import DataInfo, names

# Seconds to wait for the server to be reached and to answer.
PATIENCE = 10


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


def missing_package(error: ImportError, entry: DataInfo) -> ImportError:
    """The one error for an environment without what a set needs."""
    extra = "datasets" if entry.offline else "tfds"
    return ImportError(
        f"The data set {entry.name!r} needs the package {error.name!r}, which "
        f"is missing. Install it with: pip install 'tfdeep[{extra}]'",
        name=error.name,
    )


def missing_tensorflow(error: ImportError) -> ImportError:
    """The error where arrays could be had, but no `tf.data`."""
    return ImportError(
        "`load` gives a tf.data.Dataset, which needs TensorFlow. Pass "
        "as_numpy=True, or get it with: pip install 'tfdeep[tensorflow]'",
        name=error.name,
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
        ImportError: if a package of the extra `tfds` is missing.
    """
    try:
        made = _unprepared(entry, data_dir)
        if not Path(made.data_path).exists():
            with only_one(Path(made.data_path)):
                _prepare(entry, made)
            # One made before another process prepared the set knows no splits.
            made = _unprepared(entry, data_dir)
        _check_files(made)
    except ImportError as error:
        raise missing_package(error, entry) from error
    except Exception as error:
        # TFDS, requests, tar, checksums, folders that are files, full or not
        # ours, AssertionError where a set must be fetched by hand: whatever it
        # is, the advice is the same.
        raise unavailable(entry, error) from error
    return made


def _unprepared(entry: DataInfo, data_dir: str | None):
    import tensorflow_datasets as tfds

    return tfds.builder(entry.name, data_dir=data_dir)


def _prepare(entry: DataInfo, made) -> None:
    if Path(
        made.data_path
    ).exists():  # prepared by whoever held the lock before
        return
    if entry.address:
        check_reachable(entry, Path(made.data_path).parents[1] / "downloads")
    # What a user's script prints is not to be mixed with TFDS' progress.
    with contextlib.redirect_stdout(sys.stderr):
        made.download_and_prepare()


def _check_files(made) -> None:
    """Raise `ValueError` for files of a prepared set that were cut."""
    if not made.info.splits:
        raise ValueError(f"{made.data_path} lists no splits.")
    for split in made.info.splits.values():
        files = [Path(path) for path in split.filepaths]
        there = sum(path.stat().st_size for path in files if path.exists())
        if there < split.num_bytes:
            raise ValueError(
                f"{made.data_path} holds {there} of at least "
                f"{split.num_bytes} bytes of {split.name!r}. Remove this "
                "folder, to prepare the set again."
            )


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
