"""The arms of a recipe side by side, in processes of their own.

Training a small net keeps one core busy with little more than starting
operations. As many processes as there are cores take the arms one after the
other; what they measured is put together in the order of the arms, as if one
process had trained them all.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any

from rich.console import Console

from tfdeep.recipes.machine import accelerators, usable_cpus
from tfdeep.recipes.results import Results

if TYPE_CHECKING:
    from tfdeep.recipes.context import Context
    from tfdeep.recipes.recipe import Recipe

MOST = 8  # Each process loads the backend anew, in about 1 GiB.
SECONDS_BETWEEN_LOOKS = 0.2


class WorkerLostError(RuntimeError):
    """A process that trained an arm is gone."""


def fitting(recipe: Recipe) -> int:
    """The number of processes for a recipe on this machine: 1 on a GPU."""
    if not recipe.independent or accelerators():
        return 1
    return min(usable_cpus(), MOST)


def run_side_by_side(context: Context, workers: int) -> None:
    """Train every arm with every seed, and record what was measured.

    Each process hands over a seed's results when it is done: they are kept
    and saved whatever becomes of the process, or of another one.

    Args:
        context: the context of a recipe whose arms are independent.
        workers: integer, the number of processes.

    Raises:
        KeyboardInterrupt: after Ctrl-C, when each process has ended its batch.
        WorkerLostError: if a process was killed.
        Exception: what a process raised, when the others have stopped.
    """
    arms = list(context.arms())
    context.progress.expect(len(arms) * len(context.seeds))
    spawn = multiprocessing.get_context("spawn")
    messages, stop = spawn.SimpleQueue(), spawn.Event()
    threads = max(1, usable_cpus() // workers)
    pool = ProcessPoolExecutor(
        workers, spawn, _begin, (context.terms, messages, stop, threads)
    )
    log = tempfile.TemporaryFile()
    with _stderr_into(log):  # That of the processes that begin here.
        tasks = [pool.submit(_train, arm) for arm in arms]
    relay = _Relay(messages, context, arms)
    try:
        for finished in _looks(tasks):
            relay.forward()
            context.interruption.check()
            for task in finished:
                task.result()
    except BrokenProcessPool as error:
        log.seek(0)
        sys.stderr.write(log.read().decode(errors="replace"))
        raise WorkerLostError(
            "A worker was killed, as a system does that is short of memory. "
            "What was done is kept. Take fewer --workers."
        ) from error
    finally:
        stop.set()
        _shut(pool, tasks, relay)
        log.close()


@contextmanager
def _stderr_into(log: IO[bytes]) -> Iterator[None]:
    """Keep out of the progress bars what TensorFlow logs when it is imported.

    It writes to the file of standard error, whatever level is set.
    """
    sys.stderr.flush()
    kept = os.dup(2)
    os.dup2(log.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _looks(tasks: list[Future]) -> Iterator[set[Future]]:
    """Yield the newly finished tasks every moment, until all are."""
    waiting = set(tasks)
    while waiting:
        finished, waiting = wait(
            waiting, SECONDS_BETWEEN_LOOKS, "FIRST_COMPLETED"
        )
        yield finished


class _Relay:
    """Takes what the processes send: lines to print, and results to keep.

    Args:
        messages: queue of texts and `Results`.
        context: the context of the run.
        arms: the arms in their order, in which results are kept.
    """

    def __init__(self, messages: Any, context: Context, arms: list[str]):
        self.messages = messages
        self.context = context
        self.found: dict[str, Results] = dict.fromkeys(arms, Results())

    def forward(self) -> None:
        """Take everything that was sent so far."""
        while not self.messages.empty():
            message = self.messages.get()
            if isinstance(message, str):
                self.context.console.print(
                    message, markup=False, highlight=False, soft_wrap=True
                )
            else:
                self._keep(message)

    def _keep(self, results: Results) -> None:
        for arm in results.arms:
            self.found[arm] = results
        self.context.results = Results.together(self.found.values())
        self.context.progress.advance()
        self.context.save()


def _shut(pool: ProcessPoolExecutor, tasks: list[Future], relay: Any) -> None:
    """End the processes after this batch, or at once with Ctrl-C."""
    try:
        for task in tasks:
            task.cancel()
        # A process whose messages nobody took would wait for ever.
        while waiting := [task for task in tasks if not task.done()]:
            wait(waiting, SECONDS_BETWEEN_LOOKS, "FIRST_COMPLETED")
            relay.forward()
        pool.shutdown()
        relay.forward()
    except KeyboardInterrupt:
        for process in multiprocessing.active_children():
            process.kill()
        raise


class _Messages:
    """A file whose lines are sent to the process that prints."""

    def __init__(self, messages: Any):
        self.messages = messages

    def write(self, text: str) -> None:
        """Send a line without its end."""
        if text.strip("\n"):
            self.messages.put(text.rstrip("\n"))

    def flush(self) -> None:
        """Nothing is held back."""


class _Stop:
    """The interruption of a process that another one stops.

    Args:
        event: set when it is to stop.
    """

    def __init__(self, event: Any):
        self.event = event

    def check(self) -> None:
        """Raise `KeyboardInterrupt` if the run is over."""
        if self.event.is_set():
            raise KeyboardInterrupt


_CONTEXT: Any = None  # Of this process, if it is one of the workers.


def _begin(
    terms: dict[str, Any], messages: Any, stop: Any, threads: int
) -> None:
    """Make a worker's context, once per process."""
    global _CONTEXT
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # The first process decides.
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.environ["TF_NUM_INTRAOP_THREADS"] = str(threads)
    from tfdeep.recipes.context import Context

    lines: Any = _Messages(messages)
    sys.stderr = lines  # Of Python's own warnings.
    _CONTEXT = Context(
        **terms,
        console=Console(file=lines, width=1000),
        save=lambda: messages.put(_CONTEXT.results),
    )
    _CONTEXT.interruption = _Stop(stop)


def _end_with_parent() -> None:
    """A worker whose parent was killed would wait for arms for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _train(arm: str) -> None:
    """Train one arm with every seed."""
    _CONTEXT.only, _CONTEXT.results = arm, Results()
    _CONTEXT.recipe.run(_CONTEXT)
