"""Predicted moments beside measured ones, call by call."""

from typing import Any

import numpy as np

from tfdeep.visualization.figure import clean, color, new_figure, panels


def verification(found: Any) -> Any:
    """Draw what was predicted as a line, and what was measured as points.

    Args:
        found: with the arrays `predicted`, `measured` and `deviation`, whose
            bars are those of single draws, and `title` and `draws`.

    Returns:
        A matplotlib figure, or `None` if there are no calls.

    Raises:
        ImportError: if matplotlib is not installed.
    """
    count = len(found.predicted)
    if not count:
        return None
    figure = new_figure(8.0, 3.6)
    (axes,) = panels(figure, 1)
    depth = np.arange(1, count + 1)
    axes.plot(depth, found.predicted, color=color(0), label="predicted")
    axes.errorbar(
        depth,
        found.measured,
        found.deviation,
        fmt="o",
        ms=3,
        lw=1,
        color=color(1),
        label=f"measured, {found.draws} draws",
    )
    if min(np.min(found.predicted), np.min(found.measured)) > 0:
        axes.set_yscale("log")
    axes.set(xlabel="call", ylabel=found.title.lower())
    axes.legend(frameon=False)
    clean(axes)
    return figure
