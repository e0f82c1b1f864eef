"""The privacy that a plan spends, update by update."""

from collections.abc import Sequence
from typing import Any

from tfdeep.visualization.figure import clean, color, new_figure


def budget(steps: Sequence[int], epsilons: Sequence[float], title: str) -> Any:
    """Draw epsilon by the number of updates.

    Args:
        steps: numbers of updates.
        epsilons: what they spend.
        title: written over the picture.

    Returns:
        A matplotlib figure.

    Raises:
        ImportError: if matplotlib is not installed.
    """
    figure = new_figure(5.0, 3.4)
    axes = figure.add_subplot()
    axes.plot(steps, epsilons, ".-", color=color(0))
    axes.set(xlabel="updates", ylabel="epsilon", ylim=(0.0, None))
    axes.set_title(title, fontsize=10)
    clean(axes)
    return figure
