"""Accuracy by depth, one point for each run."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tfdeep.visualization.figure import clean, color, new_figure

Points = Sequence[tuple[float, float]]


def accuracy_by_path_length(runs: Mapping[str, Points], title: str = "") -> Any:
    """Draw the accuracy of nets by their average path length.

    Each run is a point. Those of one group are joined through the means of
    neighbours, in the order of their path lengths.

    Args:
        runs: pairs `(path length, accuracy)` by group, such as nets that were
            made linear early and late.
        title: written over the picture.

    Returns:
        A matplotlib figure, or `None` if there is nothing to draw.

    Raises:
        ImportError: if matplotlib is not installed.

    Example:
        >>> runs = {"early": [(1.0, 0.8), (2.0, 0.9)], "late": [(1.0, 0.9)]}
        >>> figure = accuracy_by_path_length(runs)
        >>> figure.axes[0].get_xlabel(), len(figure.axes[0].lines)
        ('average path length', 2)
    """
    runs = {name: points for name, points in runs.items() if len(points)}
    figure = new_figure(5.5, 3.8)
    if not runs:
        return None
    axes = figure.subplots()
    for number, (name, points) in enumerate(runs.items()):
        lengths, accuracies = np.array(sorted(points)).T
        axes.scatter(lengths, accuracies, s=14, color=color(number), alpha=0.6)
        axes.plot(
            _means(lengths),
            _means(accuracies),
            color=color(number),
            label=name,
            lw=1.5,
        )
    axes.set(xlabel="average path length", ylabel="accuracy", title=title)
    axes.legend(frameon=False)
    clean(axes)
    return figure


def _means(values: np.ndarray, count: int = 3) -> np.ndarray:
    """The means of neighbours, so many of them at a time."""
    parts = max(1, len(values) // count)
    return np.array([part.mean() for part in np.array_split(values, parts)])
