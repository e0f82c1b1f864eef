"""Learning curves: the mean over the seeds with a band of one spread."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tfdeep.visualization.figure import (
    clean,
    colors_of,
    filled,
    legend,
    new_figure,
    panels,
    words,
)

Curves = Mapping[str, Sequence[Sequence[float]]]


def mean_and_std(curves: Sequence[Sequence[float]]):
    """Return mean and sample standard deviation of each epoch.

    Seeds that stopped early count as far as they went. The deviation is zero
    where only one seed is left.

    Example:
        >>> mean, std = mean_and_std([[1.0, 2.0, 5.0], [3.0, 2.0]])
        >>> mean.tolist(), std.round(3).tolist()
        ([2.0, 2.0, 5.0], [1.414, 0.0, 0.0])
    """
    epochs = max(len(curve) for curve in curves)
    columns = [
        [curve[epoch] for curve in curves if epoch < len(curve)]
        for epoch in range(epochs)
    ]
    mean = np.array([np.mean(column) for column in columns])
    std = [np.std(c, ddof=1) if len(c) > 1 else 0.0 for c in columns]
    return mean, np.array(std)


def draw_curves(
    axes: Any, arms: Curves, name: str, colors: Mapping[str, str]
) -> None:
    """Draw the curves of every arm on one pair of axes.

    Args:
        axes: matplotlib axes.
        arms: one list of epochs per seed, by arm.
        name: the key of the training history.
        colors: the colour of each arm.
    """
    for arm, curves in arms.items():
        mean, std = mean_and_std(curves)
        epochs = np.arange(1, len(mean) + 1)
        # A single epoch is a point: without a marker it would not be seen.
        marker = "o" if len(mean) < 15 else None
        axes.plot(
            epochs,
            mean,
            color=colors[arm],
            marker=marker,
            markersize=3.5,
        )
        axes.fill_between(
            epochs, mean - std, mean + std, color=colors[arm], alpha=0.18, lw=0
        )
    axes.set_xlabel("epoch")
    axes.set_ylabel(words(name))
    axes.locator_params(axis="x", integer=True)
    clean(axes)


def learning_curves(keys: Mapping[str, Curves], title: str = "") -> Any:
    """Draw learning curves, one panel per key of the training history.

    Each arm has a line for the mean over its seeds and a band of one sample
    standard deviation to either side, in one colour over all panels. Arms and
    panels without values are left out.

    Args:
        keys: by key of the history, by arm, one list of epochs per seed.
        title: written over the panels.

    Returns:
        A matplotlib figure, or `None` if there is nothing to draw.

    Raises:
        ImportError: if matplotlib is not installed.

    Example:
        >>> arms = {"plain": [[0.1, 0.2], [0.2, 0.3]]}
        >>> figure = learning_curves({"val_accuracy": arms}, "A title")
        >>> len(figure.axes), figure.axes[0].get_ylabel()
        (1, 'validation accuracy')
    """
    keys = {
        name: {
            arm: [c for c in curves if len(c)] for arm, curves in arms.items()
        }
        for name, arms in keys.items()
    }
    keys = filled(keys)
    figure = new_figure(1.8 + 4.6 * len(keys), 4.0)
    if not keys:
        return None
    colors = colors_of(keys)
    axes = panels(figure, len(keys))
    for each, (name, arms) in zip(axes, keys.items(), strict=True):
        draw_curves(each, arms, name, colors)
    legend(figure, colors)
    figure.suptitle(title, fontsize=11)
    return figure
