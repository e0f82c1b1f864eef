"""Signal propagation: how mean and variance change with depth."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from tfdeep.visualization.figure import clean, color, new_figure, panels


def signal_propagation(records: Sequence[Any], title: str = "") -> Any:
    """Draw squared mean, variance and residual branches by call, in order.

    Brock et al., "Characterizing signal propagation to close the performance
    gap in unnormalized ResNets", 2021, call these signal propagation plots.

    Args:
        records: with `mean`, `variance`, `scale` and `branch` each; those
            with a scale are marked: their weights were set. `branch` is the
            variance of a sum's residual branch.
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
    # A logarithmic axis has no place for zero.
    shown = np.where(mean > floor, mean, np.nan)
    axes.plot(depth, variance, label="variance", color=color(0))
    axes.plot(
        depth, shown, ".-", ms=3, lw=1, label="squared mean", color=color(1)
    )
    weighted = [record.scale is not None for record in records]
    axes.plot(
        depth[weighted],
        variance[weighted],
        "o",
        color=color(0),
        markersize=3,
        label="layer with weights",
    )
    sums = [record.branch is not None for record in records]
    if any(sums):
        branches = [r.branch for r in records if r.branch is not None]
        axes.plot(
            depth[sums],
            branches,
            "D--",
            color=color(2),
            ms=3.5,
            lw=1,
            label="residual branch, at its sum",
        )
    if floor > 0:  # A logarithmic axis has no place for a signal of zeros.
        axes.set_yscale("log")
    axes.set_xlabel("call")
    axes.set_ylabel("of the signal")
    clean(axes)
    axes.legend(frameon=False, fontsize=8, ncols=2)
    figure.suptitle(title, fontsize=11)
    return figure
