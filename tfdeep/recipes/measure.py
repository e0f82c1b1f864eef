"""Time and memory of the process, measured."""

import ctypes
import gc
import os
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

# The environment of a process in which `memory_of` is exact: the C library of
# Linux maps every larger tensor when it is made, and unmaps it when it is
# freed. TensorFlow's allocator for oneDNN would keep it.
HANDED_BACK = {
    "MALLOC_MMAP_THRESHOLD_": "32768",
    "MALLOC_TRIM_THRESHOLD_": "32768",
    "MALLOC_TOP_PAD_": "0",
    "TF_ENABLE_ONEDNN_OPTS": "0",
}


class Timer:
    """Measures wall and CPU seconds of a `with` block.

    CPU seconds are those of the whole process, all threads together: on two
    busy cores they run twice as fast as the clock. They hardly change when
    another process takes its share of the machine.

    Example:
        >>> with Timer() as timer:
        ...     total = sum(range(1000))
        >>> timer.wall >= 0.0 and timer.cpu >= 0.0
        True
    """

    def __init__(self) -> None:
        self.wall = 0.0
        self.cpu = 0.0
        self._start = (time.perf_counter(), time.process_time())

    def __enter__(self) -> "Timer":
        self._start = (time.perf_counter(), time.process_time())
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Set `wall` and `cpu` to the seconds since the start.

        It may be called again, for a later reading.
        """
        wall, cpu = self._start
        self.wall = time.perf_counter() - wall
        self.cpu = time.process_time() - cpu


def cpu_in_turn(
    calls: Mapping[str, Callable[[], object]], turns: int
) -> dict[str, float]:
    """CPU seconds of calls that are compared, each in its turn.

    What else the machine does falls on all of them alike; the median leaves
    out the turns in which something else was done.

    Args:
        calls: what is called, by name, once in each turn.
        turns: integer, how often. A turn before them is not counted.

    Returns:
        The median over the turns, by name.

    Example:
        >>> calls = {"less": lambda: sum(range(10**4)),
        ...          "more": lambda: sum(range(10**6))}
        >>> seconds = cpu_in_turn(calls, turns=5)
        >>> seconds["less"] < seconds["more"]
        True
    """
    spent: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(turns + 1):
        for name, call in calls.items():
            with Timer() as timer:
                call()
            if turn:
                spent[name].append(timer.cpu)
    return {name: statistics.median(each) for name, each in spent.items()}


def cpu_of_children() -> float:
    """Return the CPU seconds of all processes that this one saw end.

    Example:
        >>> cpu_of_children() >= 0.0
        True
    """
    return os.times().children_user + os.times().children_system


def peak_memory() -> float | None:
    """Return the largest resident memory so far, in MiB.

    That of this process, or of one that it saw end.

    Returns:
        The figure, or `None` where the system does not tell.

    Example:
        >>> peak = peak_memory()
        >>> peak is None or peak > 1.0
        True
    """
    try:
        import resource
    except ImportError:  # Windows has no such module.
        return None
    peak = max(
        resource.getrusage(who).ru_maxrss
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    unit = 1 if sys.platform == "darwin" else 1024
    return peak * unit / 2**20


def memory_of(call: Callable[[], object]) -> float:
    """MiB by which resident memory rises during a call, at its highest.

    Free memory is handed back before, so that it counts when it is used; all
    of it in a process that begins with `HANDED_BACK` in its environment.

    Returns:
        The figure; NaN where the system is not Linux.

    Example:
        >>> memory_of(lambda: bytes(2**26)) >= 0.0 or sys.platform != "linux"
        True
    """
    process = Path("/proc/self")
    try:
        gc.collect()
        ctypes.CDLL("libc.so.6").malloc_trim(0)
        (process / "clear_refs").write_text("5")
        before = _resident(process, "VmRSS:")
        call()
        return _resident(process, "VmHWM:") - before
    except OSError:
        return float("nan")


def _resident(process: Path, field: str) -> float:
    status = (process / "status").read_text()
    return int(status.split(field)[1].split()[0]) / 1024
