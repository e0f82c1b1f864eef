"""How large the layers of a model are, and how much they compute."""

from collections.abc import Sequence
from typing import Any

from tfdeep.visualization.figure import clean, color, new_figure, panels


def count_chart(rows: Sequence[Any]) -> Any:
    """Draw parameters and multiply-adds of each call, in order.

    Args:
        rows: with `path`, `parameters` and `multiply_adds` each; where these
            are `None`, they are not known, and there is a mark.

    Returns:
        A matplotlib figure, or `None` if there are no rows.

    Raises:
        ImportError: if matplotlib is not installed.
    """
    if not rows:
        return None
    figure = new_figure(8.0, min(1.2 + 0.22 * len(rows), 40.0))
    places = range(len(rows))
    for index, (axes, name) in enumerate(
        zip(panels(figure, 2), ("parameters", "multiply_adds"), strict=True)
    ):
        values = [getattr(row, name) for row in rows]
        axes.barh(places, [each or 0 for each in values], color=color(index))
        unknown = [n for n, each in enumerate(values) if each is None]
        axes.plot([0.0] * len(unknown), unknown, "x", color=color(index))
        axes.set_xlabel(name.replace("_", "-"))
        axes.set_yticks(
            places, [row.path for row in rows] if index == 0 else []
        )
        axes.tick_params(axis="y", labelsize=7)
        axes.set_ylim(len(rows) - 0.5, -0.5)  # The first call on top.
        clean(axes, grid="x")
    return figure
