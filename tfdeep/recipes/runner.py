"""Runs a recipe and leaves `result.json`, tables and pictures.

The result is written when the run begins and after every finished arm and
seed, each time as a whole, so that an interrupted or failed run leaves what it
had. Its "status" is "running", "held", "not held", "interrupted" or "error".
What cannot be written is said, and the run goes on: the tables tell the rest.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from tfdeep.recipes.context import Context
from tfdeep.recipes.machine import accelerators, machine, versions
from tfdeep.recipes.measure import Timer, cpu_of_children, peak_memory
from tfdeep.recipes.plots import drawings, earlier_plots
from tfdeep.recipes.recipe import Recipe, Verdict
from tfdeep.recipes.report import (
    claims_to_list,
    print_tables,
    results_to_dict,
)
from tfdeep.recipes.workers import (
    WorkerLostError,
    fitting,
    run_side_by_side,
)
from tfdeep.report import write_json

FILE = "result.json"


def run(
    name: str,
    out: Path,
    scale: str,
    data: str | None,
    seed: int,
    command: str,
    workers: int | None,
) -> str:
    """Run the recipe of a name; the arguments are those of `Runner`.

    Args:
        name: the recipe's name.
        out: existing folder for the result.
        scale: name of one of the recipe's scales.
        data: name of the data set; the recipe's own if `None`.
        seed: integer, the first seed.
        command: the command line that made the run.
        workers: integer; as many as fit the machine if `None`.

    Returns:
        The status, as of `Runner.run`.
    """
    from tfdeep.recipes import recipes

    recipe = recipes()[name]
    if workers is None:
        workers = fitting(recipe)
    runner = Runner(recipe, out, scale, data, seed, command, workers=workers)
    return runner.run()


class Runner:
    """One run of a recipe.

    Args:
        recipe: the recipe.
        out: existing folder for the result.
        scale: name of one of the recipe's scales.
        data: name of the data set; the recipe's own if `None`.
        seed: integer, the first seed.
        command: the command line that made the run.
        console: where to write; a new console if `None`.
        workers: integer, the number of processes that train arms side by
            side; above 1 for recipes whose arms are independent. There are
            no more of them than arms.
    """

    def __init__(
        self,
        recipe: Recipe,
        out: Path,
        scale: str = "quick",
        data: str | None = None,
        seed: int = 0,
        command: str = "",
        console: Console | None = None,
        workers: int = 1,
    ):
        self.recipe = recipe
        self.out = out
        self.context = Context(recipe, scale, data, seed, console, self.save)
        self.console = self.context.console
        self.workers = workers
        self.status = "running"
        self.verdicts: dict[str, Verdict] = {}
        self.plots: list[str] = []
        self.error: str | None = None
        self.unwritten: dict[str, OSError] = {}
        self._header = self._describe(command)
        self._timer = Timer()
        self._children = cpu_of_children()

    def run(self) -> str:
        """Run the recipe to its end, or to an interruption or an error.

        Returns:
            The status: "held", "not held", "interrupted" or "error", which it
            is as well where something could not be written.
        """
        self._remove_earlier()
        self.save()
        with self.context.interruption:
            try:
                self._train()
                self._judge()
            except KeyboardInterrupt:
                self.status = "interrupted"
            except Exception as error:
                self._fail(error)
            self.save()
        self._report()
        return "error" if self.unwritten else self.status

    def save(self) -> None:
        """Write `result.json` as things stand."""
        self._timer.stop()
        self._write(FILE, partial(write_json, self.out / FILE, self.to_dict()))

    def _write(self, name: str, write: Callable[[], object]) -> None:
        """Write a file, or say once that it cannot be."""
        try:
            write()
        except OSError as error:
            if name not in self.unwritten:
                print(
                    f"{self.out / name} cannot be written "
                    f"({error.strerror or error}).",
                    file=sys.stderr,
                )
            self.unwritten[name] = error
        else:
            self.unwritten.pop(name, None)

    def _remove_earlier(self) -> None:
        """Remove the pictures of an earlier run in the same folder."""
        for name in earlier_plots(self.out / FILE):
            path = self.out / name
            self._write(name, partial(path.unlink, missing_ok=True))

    def _train(self) -> None:
        """Train all arms, in as many processes as there is work for."""
        context = self.context
        self.workers = min(self.workers, len(context.arms()))
        self._header["workers"] = self.workers
        self._announce()
        with context.progress:
            if self.workers > 1:
                run_side_by_side(context, self.workers)
            else:
                self.recipe.run(context)

    def to_dict(self) -> dict[str, Any]:
        """Return everything that `result.json` holds."""
        context = self.context
        return {
            "status": self.status,
            **self._header,
            "wall_seconds": self._timer.wall,
            "cpu_seconds": self._timer.cpu + cpu_of_children() - self._children,
            "peak_memory_mib": peak_memory(),
            "error": self.error,
            "claims": claims_to_list(self.recipe, self.verdicts),
            "plots": self.plots,
            **results_to_dict(context.results),
        }

    def _describe(self, command: str) -> dict[str, Any]:
        """Return the part of the result that is known beforehand."""
        context = self.context
        return {
            "recipe": self.recipe.name,
            "title": self.recipe.title,
            "paper": self.recipe.paper,
            "scale": context.scale,
            "settings": vars(context.settings),
            "data": context.data,
            "seed": context.seeds[0],
            "seeds": list(context.seeds),
            "workers": self.workers,
            "command": command,
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
            "versions": versions(),
            "machine": machine(),
        }

    def _announce(self) -> None:
        """Say what will be run, and warn of a scale meant for a GPU."""
        context, recipe = self.context, self.recipe
        about = recipe.scales[context.scale].about
        seeds = ", ".join(str(seed) for seed in context.seeds)
        self._say(f"{recipe.title} ({recipe.paper})")
        self._say(
            f"scale {context.scale} ({about}), data {context.data}, seeds {seeds}"
            + (f", {self.workers} workers" if self.workers > 1 else "")
        )
        if context.scale == "paper" and not accelerators():
            self._say(
                "Warning: the scale 'paper' is sized for a GPU and the backend "
                "sees none. It goes on and may take days; --scale quick takes "
                "minutes."
            )

    def _judge(self) -> None:
        """Judge every claim by the complete results."""
        for claim in self.recipe.claims:
            self.verdicts[claim.name] = claim.judge(self.context.results)
        every = all(verdict.held for verdict in self.verdicts.values())
        self.status = "held" if every else "not held"

    def _fail(self, error: Exception) -> None:
        """Keep what went wrong for the result, and show where."""
        if self.context.interruption.asked:
            # A library turned the interruption into an error of its own.
            self.status = "interrupted"
            return
        self.status = "error"
        self.error = f"{type(error).__name__}: {error}"
        from tfdeep.data import DataUnavailableError

        if isinstance(
            error, DataUnavailableError | ImportError | WorkerLostError
        ):
            # Nothing is wrong with the program: the message says what to do.
            self.error = str(error)
        else:
            traceback.print_exc(file=sys.stderr)

    def _report(self) -> None:
        """Print the tables, draw the pictures, and say where everything is."""
        if self.status == "interrupted":
            self._say("Interrupted: here is what there was.")
        if self.context.results.arms or self.verdicts:
            print_tables(
                self.console, self.recipe, self.context.results, self.verdicts
            )
            self._draw()
        self.save()
        for name in (FILE, *self.plots):
            if name not in self.unwritten:
                self._say(f"written: {self.out / name}")
        name, lost = self.recipe.name, ", ".join(self.unwritten)
        if self.error:
            print(f"{name} could not run: {self.error}", file=sys.stderr)
        elif lost:
            self._say(f"{name}: {self.status}, but not written: {lost}")
        else:
            self._say(f"{name}: {self.status}")

    def _draw(self) -> None:
        """Draw the pictures; one that fails is no verdict on the claims."""
        from tfdeep.visualization import save

        drawn = drawings(self.recipe, self.context.results, self.verdicts)
        for draw in drawn:
            try:
                for name, figure in draw().items():
                    if figure is None:
                        continue
                    self._write(name, partial(save, figure, self.out / name))
                    if name not in self.unwritten:
                        self.plots.append(name)
            except ImportError as error:
                self._say(str(error))
                return
            except Exception as error:
                self._say(
                    "A picture could not be drawn: "
                    f"{type(error).__name__}: {error}"
                )

    def _say(self, text: str) -> None:
        """Print a line as it is."""
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)
