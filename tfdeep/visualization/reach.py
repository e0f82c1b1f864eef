"""The reach of losses: one bar for each over the layers it trains."""

from collections.abc import Mapping, Sequence
from typing import Any

from tfdeep.visualization.figure import clean, color, new_figure

MOST_NAMES = 40


def reach_chart(
    layers: Sequence[str], reached: Mapping[str, Sequence[str]]
) -> Any:
    """Draw which loss reaches which layer, the first layer at the bottom.

    Args:
        layers: names of the layers, in order.
        reached: for each loss the names of the layers that it reaches.

    Returns:
        A matplotlib figure, or `None` if there is nothing to draw.

    Raises:
        ImportError: if matplotlib is not installed.

    Example:
        >>> figure = reach_chart(["low", "high"], {"head": ["low"]})
        >>> [t.get_text() for t in figure.axes[0].get_xticklabels()]
        ['head']
    """
    count = len(layers)
    height = min(12.0, 1.5 + 0.22 * count)
    figure = new_figure(2.0 + 1.1 * len(reached), height)
    if not layers or not reached:
        return None
    axes = figure.subplots()
    numbers = {layer: number for number, layer in enumerate(layers)}
    for column, names in enumerate(reached.values()):
        for name in names:
            axes.bar(
                column,
                1.0,
                0.7,
                numbers[name] - 0.5,
                color=color(column),
                edgecolor="white",
                linewidth=0.5,
            )
    every = -(-count // MOST_NAMES)
    axes.set_yticks(range(0, count, every), list(layers)[::every], fontsize=7)
    axes.set_xticks(range(len(reached)), list(reached), rotation=20, ha="right")
    axes.set(ylabel="layer", xlabel="loss", ylim=(-0.5, count - 0.5))
    clean(axes, "y")
    return figure
