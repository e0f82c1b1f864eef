"""Runs a recipe and leaves `result.json`, tables and pictures.

The result is written when the run begins and after every finished arm and
seed, each time as a whole, so that an interrupted or failed run leaves what it
had. Its "status" is "running", "held", "not held", "interrupted" or "error".
"""

from __future__ import annotations

import sys
import traceback
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console

from tfdeep.recipes.context import Context
from tfdeep.recipes.machine import accelerators, machine, versions
from tfdeep.recipes.measure import Timer, cpu_of_children, peak_memory
from tfdeep.recipes.plots import draw_plots, remove_plots
from tfdeep.recipes.recipe import Recipe, Verdict
from tfdeep.recipes.report import (
    claims_to_list,
    print_tables,
    results_to_dict,
    write_json,
)
from tfdeep.recipes.workers import run_side_by_side

FILE = "result.json"


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
            side; above 1 for recipes whose arms are independent.
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
        self._header = self._describe(command)
        self._timer = Timer()
        self._children = cpu_of_children()

    def run(self) -> str:
        """Run the recipe to its end, or to an interruption or an error.

        Returns:
            The status: "held", "not held", "interrupted" or "error".
        """
        self._announce()
        remove_plots(self.out)
        self.save()
        try:
            with self.context.interruption, self.context.progress:
                if self.workers > 1:
                    run_side_by_side(self.context, self.workers)
                else:
                    self.recipe.run(self.context)
            self._judge()
        except KeyboardInterrupt:
            self.status = "interrupted"
        except Exception as error:
            self._fail(error)
        self.save()
        self._report()
        return self.status

    def save(self) -> None:
        """Write `result.json` as things stand."""
        self._timer.stop()
        write_json(self.out / FILE, self.to_dict())

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

        if isinstance(error, (DataUnavailableError, ImportError)):
            # Nothing is wrong with the program: the message says what to do.
            print(error, file=sys.stderr)
        else:
            traceback.print_exc(file=sys.stderr)

    def _report(self) -> None:
        """Print the tables, draw the pictures, and say where everything is."""
        if self.status == "interrupted":
            self._say("Interrupted: here is what there was.")
        print_tables(
            self.console, self.recipe, self.context.results, self.verdicts
        )
        try:
            self.plots = draw_plots(
                self.out, self.recipe, self.context.results, self.verdicts
            )
        except ImportError as error:
            self._say(str(error))
        self.save()
        for name in (FILE, *self.plots):
            self._say(f"written: {self.out / name}")
        self._say(f"{self.recipe.name}: {self.status}")

    def _say(self, text: str) -> None:
        """Print a line as it is."""
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)
