"""How a run shows its progress: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
)

SECONDS_BETWEEN_LINES = 5.0


def describe(logs: Mapping[str, Any]) -> str:
    """Return the newest metrics in a few words, validation preferred.

    Example:
        >>> describe({"loss": 0.51234, "accuracy": 0.8, "val_accuracy": 0.75})
        'loss 0.512, val_accuracy 0.75'
    """
    names = [name for name in logs if name.startswith("val_")]
    names = [name for name in names if name != "val_loss"]
    names = names or [name for name in logs if name != "loss"]
    shown = ["loss"] * ("loss" in logs) + names[:2]
    return ", ".join(f"{name} {float(logs[name]):.3g}" for name in shown)


class RunProgress:
    """Shows which arm, seed and epoch of a recipe is being trained.

    On a terminal there are two bars, one over the arms and seeds and one over
    the epochs of the current one. Elsewhere each arm and seed prints a line
    now and then, never twice for an epoch, and one when it is done.

    Args:
        console: the rich console to write to.
        title: the name of the whole run.
    """

    def __init__(self, console: Console, title: str):
        self.console = console
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[news]}"),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._whole = self._bars.add_task(title, total=None, news="")
        self._one = self._bars.add_task("", total=None, news="", visible=False)
        self._name = title
        self._news = ""
        self._shown = 0  # The epochs of the last line.
        self._line_due = 0.0
        self._begun = time.monotonic()

    def __enter__(self) -> RunProgress:
        self._bars.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bars.stop()

    def expect(self, total: int) -> None:
        """Say how many pairs of arm and seed there are."""
        self._bars.update(self._whole, total=total)

    def begin(self, arm: str, seed: int) -> None:
        """Say which arm and seed comes now."""
        self._name, self._news = f"{arm}, seed {seed}", ""
        self._shown = 0
        self._begun = time.monotonic()
        self._line_due = self._begun + SECONDS_BETWEEN_LINES
        self._bars.reset(
            self._one, description=self._name, total=None, news="", visible=True
        )

    def step(self, done: float, total: int, logs: Mapping[str, Any]) -> None:
        """Say how many epochs are done, and the newest logs."""
        if logs:
            self._news = describe(logs)
        # Whole numbers are shown, the fraction still moves the bar.
        self._bars.update(
            self._one, completed=done, total=total, news=self._news
        )
        due = time.monotonic() >= self._line_due
        if due and self._shown < int(done) < total:
            self._line_due = time.monotonic() + SECONDS_BETWEEN_LINES
            self._shown = int(done)
            self._line(f"epoch {int(done)}/{total}")

    def end(self) -> None:
        """Say that this arm and seed is done."""
        self.advance()
        self._line(f"done in {time.monotonic() - self._begun:.0f} s")

    def advance(self) -> None:
        """Count one more pair of arm and seed."""
        self._bars.advance(self._whole)

    def _line(self, text: str) -> None:
        """Print a plain line where there are no bars."""
        if not self.console.is_terminal:
            news = f": {self._news}" if self._news else ""
            self.console.print(
                f"  {self._name}: {text}{news}",
                markup=False,
                highlight=False,
                soft_wrap=True,
            )
