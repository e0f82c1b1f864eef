"""The report of a run: tables on the console, `result.json` and pictures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tfdeep.recipes.recipe import Recipe, Verdict
from tfdeep.recipes.results import Results, Spread

Verdicts = Mapping[str, Verdict]


def spread_to_dict(spread: Spread) -> dict[str, Any]:
    """Return mean, standard deviation and number of seeds."""
    return {"mean": spread.mean, "std": spread.std, "seeds": len(spread.values)}


def results_to_dict(results: Results) -> dict[str, Any]:
    """Return the measured values and their summary for `result.json`."""
    summary = {
        arm: {name: spread_to_dict(spread) for name, spread in metrics.items()}
        for arm, metrics in results.summary().items()
    }
    return {"summary": summary, "arms": results.to_dict()}


def claims_to_list(recipe: Recipe, verdicts: Verdicts) -> list[dict[str, Any]]:
    """Return the claims with what was measured, `None` before they are judged."""
    return [
        {
            "name": claim.name,
            "statement": claim.statement,
            "paper": claim.paper,
            "measured": getattr(verdicts.get(claim.name), "measured", None),
            "held": getattr(verdicts.get(claim.name), "held", None),
        }
        for claim in recipe.claims
    ]


TITLE = "Measured: mean ± standard deviation over the seeds"


def arms_table(results: Results, width: int = 80) -> Table:
    """Return the table of arms and metrics, mean ± standard deviation.

    No name in it is cut: where the arms as rows do not fit, they are columns;
    where these do not either, each arm is followed by its metrics.

    Args:
        results: what was measured.
        width: the columns that the table may take.
    """
    summary, metrics = results.summary(), results.metrics
    names = [metric.replace("_", " ") for metric in metrics]
    rows = [
        [arm, *(str(spreads.get(metric, "")) for metric in metrics)]
        for arm, spreads in summary.items()
    ]
    by_arm = [["arm", *names], *rows]
    by_metric = [list(column) for column in zip(*by_arm, strict=True)]
    for cells in (by_arm, by_metric):
        heading, *body = cells
        columns = zip(*cells, strict=True)
        if sum(3 + max(map(len, column)) for column in columns) < width:
            return _table(["" if h == "arm" else h for h in heading], body)
    listed = []
    for arm, *values in rows:
        listed.append([arm, ""])
        pairs = zip(names, values, strict=True)
        listed.extend([f"  {name}", value] for name, value in pairs if value)
    return _table(["", ""], listed)


def _table(heading: list[str], rows: list[list[str]]) -> Table:
    """Return a table whose numbers stand right."""
    table = Table(title=TITLE, show_header=any(heading))
    for index, name in enumerate(heading):
        table.add_column(
            Text(name), justify="right" if index else "left", overflow="fold"
        )
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    return table


def claims_table(recipe: Recipe, verdicts: Verdicts) -> Table:
    """Return the table of claims: paper, measured, held or not."""
    table = Table(title=f"{recipe.title} ({recipe.paper})", show_lines=True)
    for name in ("claim", "paper", "measured", "held"):
        table.add_column(name, overflow="fold")
    for claim in recipe.claims:
        verdict = verdicts.get(claim.name)
        measured = verdict.measured if verdict else "not judged"
        # Text is shown as it is: brackets in it are no markup.
        table.add_row(
            Text(claim.statement),
            Text(claim.paper),
            Text(measured),
            held(verdict),
        )
    return table


def held(verdict: Verdict | None) -> Text:
    """Return the last cell of a claim: "yes", "no", or nothing yet."""
    if verdict is None:
        return Text("")
    if verdict.held:
        return Text("yes", style="bold green")
    return Text("no", style="bold red")


def print_tables(
    console: Console, recipe: Recipe, results: Results, verdicts: Verdicts
) -> None:
    """Print what was measured, then what it says about the claims."""
    if results.metrics:
        console.print(arms_table(results, console.width))
    if verdicts or results.metrics:
        console.print(claims_table(recipe, verdicts))
