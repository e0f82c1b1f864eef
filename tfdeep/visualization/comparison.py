"""Arms side by side: every seed as a point, mean and spread as a bar."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tfdeep.visualization.curves import mean_and_std
from tfdeep.visualization.figure import (
    clean,
    colors_of,
    filled,
    new_figure,
    panels,
    words,
)

Values = Mapping[str, Sequence[float]]


def draw_comparison(
    axes: Any, arms: Values, name: str, colors: Mapping[str, str]
) -> None:
    """Draw the values of every arm on one pair of axes, one row per arm.

    Args:
        axes: matplotlib axes.
        arms: one value per seed, by arm.
        name: the name of the metric.
        colors: the colour of each arm.
    """
    for row, (arm, values) in enumerate(arms.items()):
        (mean,), (std,) = mean_and_std([[value] for value in values])
        axes.barh(row, mean, height=0.6, color=colors[arm], alpha=0.3)
        axes.errorbar(
            mean,
            row,
            xerr=std,
            fmt="|",
            color=colors[arm],
            capsize=4,
            ms=14,
            lw=1.5,
        )
        # The seeds stand below one another, so that equal ones are seen.
        rows = (
            row + np.linspace(-0.12, 0.12, len(values))
            if len(values) > 1
            else row
        )
        axes.scatter(
            values, np.broadcast_to(rows, len(values)), s=14, color=colors[arm]
        )
    axes.set_yticks(range(len(arms)), list(arms))
    axes.set_ylim(len(arms) - 0.5, -0.5)  # The first arm on top.
    axes.set_xlabel(words(name))
    clean(axes, grid="x")


def comparison(metrics: Mapping[str, Values], title: str = "") -> Any:
    """Draw measured values of several arms, one panel per metric.

    Each arm has a bar up to the mean over its seeds, a whisker of one sample
    standard deviation to either side, and a point for every seed. Arms and
    panels without values are left out.

    Args:
        metrics: by metric, by arm, one value per seed.
        title: written over the panels.

    Returns:
        A matplotlib figure, or `None` if there is nothing to draw.

    Raises:
        ImportError: if matplotlib is not installed.

    Example:
        >>> arms = {"plain": [0.3, 0.4], "residual": [0.1, 0.2]}
        >>> figure = comparison({"test_error": arms}, "A title")
        >>> [tick.get_text() for tick in figure.axes[0].get_yticklabels()]
        ['plain', 'residual']
    """
    metrics = filled(metrics)
    rows = max((len(arms) for arms in metrics.values()), default=0)
    lines = title.count("\n") + 1
    figure = new_figure(
        2.0 + 3.8 * len(metrics), 1.0 + 0.5 * rows + 0.2 * lines
    )
    if not metrics:
        return None
    colors = colors_of(metrics)
    axes = panels(figure, len(metrics))
    for each, (name, arms) in zip(axes, metrics.items(), strict=True):
        draw_comparison(each, arms, name, colors)
    figure.suptitle(title, fontsize=10)
    return figure
