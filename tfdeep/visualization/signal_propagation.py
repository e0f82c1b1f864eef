"""Signal propagation: how mean and variance change with depth."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from tfdeep.visualization.figure import clean, color, new_figure, panels


def signal_propagation(records: Sequence[Any], title: str = "") -> Any:
    """Draw squared mean and variance of every call, in order.

    Brock et al., "Characterizing signal propagation to close the performance
    gap in unnormalized ResNets", 2021, call these signal propagation plots.

    Args:
        records: with `mean`, `variance` and `scale` each; those with a scale
            are marked: their weights were set.
        title: written over the picture.

    Returns:
        A matplotlib figure, or `None` if there are no records.

    Raises:
        ImportError: if matplotlib is not installed.
    """
    figure = new_figure(8.0, 3.6)
    if not records:
        return None
    (axes,) = panels(figure, 1)
    depth = np.arange(1, len(records) + 1)
    variance = np.array([record.variance for record in records])
    mean = np.array([record.mean**2 for record in records])
    floor = max(variance.max(), mean.max()) * 1e-8
    for index, (name, values) in enumerate(
        {"variance": variance, "squared mean": mean}.items()
    ):
        # A logarithmic axis has no place for zero.
        shown = np.where(values > floor, values, np.nan)
        axes.plot(depth, shown, label=name, color=color(index))
    weighted = [record.scale is not None for record in records]
    axes.plot(
        depth[weighted],
        variance[weighted],
        "o",
        color=color(0),
        markersize=3,
        label="layer with weights",
    )
    axes.set_yscale("log")
    axes.set_xlabel("call")
    axes.set_ylabel("of the signal")
    clean(axes)
    axes.legend(frameon=False)
    figure.suptitle(title, fontsize=11)
    return figure
