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
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor, wait
from contextlib import suppress
from queue import Empty
from typing import TYPE_CHECKING, Any

from rich.console import Console

from tfdeep.recipes.machine import accelerators, usable_cpus
from tfdeep.recipes.results import Results

if TYPE_CHECKING:
    from tfdeep.recipes.context import Context
    from tfdeep.recipes.recipe import Recipe

MOST = 8  # Each process loads the backend anew, in about 1 GiB.
SECONDS_BETWEEN_LOOKS = 0.2


def fitting(recipe: Recipe) -> int:
    """The number of processes for a recipe on this machine: 1 on a GPU."""
    if not recipe.independent or accelerators():
        return 1
    return min(usable_cpus(), MOST)


def run_side_by_side(context: Context, workers: int) -> None:
    """Train every arm with every seed, and record what was measured.

    Args:
        context: the context of a recipe whose arms are independent.
        workers: integer, the number of processes.

    Raises:
        KeyboardInterrupt: after Ctrl-C, when each process has ended its batch.
        Exception: what a process raised, when the others have stopped.
    """
    arms = list(context.arms())
    context.progress.expect(len(arms) * len(context.seeds))
    spawn = multiprocessing.get_context("spawn")
    messages, stop = spawn.Queue(), spawn.Event()
    threads = max(1, usable_cpus() // workers)
    pool = ProcessPoolExecutor(
        workers, spawn, _begin, (context.terms, messages, stop, threads)
    )
    tasks = [pool.submit(_train, arm) for arm in arms]
    try:
        for finished in _looks(tasks):
            _relay(messages, context)
            context.interruption.check()
            if finished:
                found = [task.result() for task in tasks if task.done()]
                context.results = Results.together(found)
                context.save()
    finally:
        stop.set()
        _shut(pool)
        _relay(messages, context)


def _looks(tasks: list[Future]) -> Iterator[set[Future]]:
    """Yield the newly finished tasks every moment, until all are."""
    waiting = set(tasks)
    while waiting:
        finished, waiting = wait(
            waiting, SECONDS_BETWEEN_LOOKS, "FIRST_COMPLETED"
        )
        yield finished


def _relay(messages: Any, context: Context) -> None:
    """Print what the processes had to say; `None` is a finished seed."""
    with suppress(Empty):
        while True:
            text = messages.get_nowait()
            if text is None:
                context.progress.advance()
            else:
                context.console.print(
                    text, markup=False, highlight=False, soft_wrap=True
                )


def _shut(pool: ProcessPoolExecutor) -> None:
    """End the processes after this batch, or at once with Ctrl-C."""
    try:
        pool.shutdown(cancel_futures=True)
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
    _CONTEXT = Context(
        **terms,
        console=Console(file=lines, width=1000),
        save=lambda: messages.put(None),
    )
    _CONTEXT.interruption = _Stop(stop)


def _end_with_parent() -> None:
    """A worker whose parent was killed would wait for arms for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _train(arm: str) -> Results:
    """Train one arm with every seed."""
    _CONTEXT.only, _CONTEXT.results = arm, Results()
    _CONTEXT.recipe.run(_CONTEXT)
    return _CONTEXT.results
