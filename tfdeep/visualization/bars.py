"""Widths of layers, or other numbers, as bars."""

from collections.abc import Mapping, Sequence
from typing import Any

from tfdeep.visualization.figure import clean, color, new_figure

MOST_NAMES = 40


def bar_chart(
    names: Sequence[str],
    series: Mapping[str, Sequence[float]],
) -> Any:
    """Draw a bar for each name, the first at the top.

    Args:
        names: what the bars are of.
        series: numbers for the names, one on top of the other.

    Returns:
        A matplotlib figure.

    Raises:
        ImportError: if matplotlib is not installed.

    Example:
        >>> figure = bar_chart(["low", "high"], {"before": [3, 4]})
        >>> [text.get_text() for text in figure.axes[0].get_yticklabels()]
        ['low', 'high']
    """
    count = len(names)
    figure = new_figure(6.0, min(12.0, 1.2 + 0.2 * count))
    axes = figure.subplots()
    for number, (name, values) in enumerate(series.items()):
        axes.barh(range(count), values, color=color(number), label=name)
    every = max(-(-count // MOST_NAMES), 1)
    axes.set_yticks(range(0, count, every), list(names)[::every], fontsize=7)
    axes.invert_yaxis()
    axes.legend()
    clean(axes, "x")
    return figure
