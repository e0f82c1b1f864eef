"""The pictures of a run, drawn by `tfdeep.visualization`."""

from __future__ import annotations

import textwrap
from pathlib import Path

from tfdeep.recipes.recipe import Recipe, Verdict
from tfdeep.recipes.results import Results

CURVES, COMPARISON = "curves.png", "comparison.png"


def remove_plots(out: Path) -> None:
    """Remove the pictures of an earlier run in the same folder."""
    for name in (CURVES, COMPARISON):
        (out / name).unlink(missing_ok=True)


def draw_plots(
    out: Path, recipe: Recipe, results: Results, verdicts: dict[str, Verdict]
) -> list[str]:
    """Draw learning curves and the compared metrics; return the file names.

    The recipe's further figures are drawn of a complete run, which alone has
    verdicts.

    Raises:
        ImportError: if matplotlib is not installed.
    """
    from tfdeep import visualization

    curves = {
        key: {arm: results.histories(arm, key) for arm in results.arms}
        for key in recipe.curves
    }
    metrics = recipe.metrics or tuple(results.metrics)
    compared = {
        metric: {
            arm: list(results.by_seed(arm, metric).values())
            for arm in results.arms
        }
        for metric in metrics
    }
    figures = {
        CURVES: visualization.learning_curves(present(curves), recipe.title),
        COMPARISON: visualization.comparison(
            present(compared), headline(recipe, verdicts)
        ),
    }
    if recipe.pictures and verdicts:
        figures.update(recipe.pictures(results))
    drawn = {name: figure for name, figure in figures.items() if figure}
    for name, figure in drawn.items():
        visualization.save(figure, out / name)
    return list(drawn)


def present(panels: dict[str, dict[str, list]]) -> dict[str, dict[str, list]]:
    """Return the panels and arms that have any values."""
    filled = {
        name: {arm: values for arm, values in arms.items() if values}
        for name, arms in panels.items()
    }
    return {name: arms for name, arms in filled.items() if arms}


def headline(recipe: Recipe, verdicts: dict[str, Verdict]) -> str:
    """Return the title over the compared metrics: each claim and its verdict."""
    lines = [recipe.title]
    for claim in recipe.claims:
        verdict = verdicts.get(claim.name)
        if verdict:
            word = "held" if verdict.held else "not held"
            lines.append(f"{claim.name}, {word}: {verdict.measured}")
    return "\n".join(textwrap.fill(line, 90) for line in lines)
