"""The pictures of a run, drawn by `tfdeep.visualization`."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from tfdeep.recipes.recipe import Recipe, Verdict
from tfdeep.recipes.results import Results

CURVES, COMPARISON = "curves.png", "comparison.png"


Figures = Callable[[], Mapping[str, Any]]


def earlier_plots(result: Path) -> list[str]:
    """Return the file names of the pictures beside an earlier result."""
    try:
        found = json.loads(result.read_text(encoding="utf-8"))["plots"]
    except (OSError, ValueError, KeyError, TypeError):
        found = []
    names = (Path(str(name)).name for name in found)
    return [CURVES, COMPARISON, *(n for n in names if n.endswith(".png"))]


def drawings(
    recipe: Recipe, results: Results, verdicts: dict[str, Verdict]
) -> list[Figures]:
    """Return functions that draw figures by file name.

    Learning curves, the compared metrics, and the recipe's further figures,
    which are drawn of a complete run: that alone has verdicts. Where one
    fails the others are drawn. `None` is a figure with nothing in it.
    """

    def curves():
        keys = {
            key: {arm: results.histories(arm, key) for arm in results.arms}
            for key in recipe.curves
        }
        return {CURVES: visualization.learning_curves(keys, recipe.title)}

    def compared():
        metrics = {
            metric: {
                arm: list(results.by_seed(arm, metric).values())
                for arm in results.arms
            }
            for metric in recipe.metrics or results.metrics
        }
        title = headline(recipe, verdicts)
        return {COMPARISON: visualization.comparison(metrics, title)}

    from tfdeep import visualization

    found: list[Figures] = [curves, compared]
    if recipe.pictures and verdicts:
        found.append(partial(recipe.pictures, results))
    return found


def headline(recipe: Recipe, verdicts: dict[str, Verdict]) -> str:
    """Return the title over the compared metrics: each claim and its verdict."""
    lines = [recipe.title]
    for claim in recipe.claims:
        verdict = verdicts.get(claim.name)
        if verdict:
            word = "held" if verdict.held else "not held"
            lines.append(f"{claim.name}, {word}: {verdict.measured}")
    return "\n".join(textwrap.fill(line, 90) for line in lines)
