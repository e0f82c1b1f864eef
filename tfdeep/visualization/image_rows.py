"""Rows of images."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from tfdeep.visualization.figure import new_figure


def image_rows(rows: Mapping[str, Any], title: str = "") -> Any:
    """Draw rows of images below one another, each with its name.

    Args:
        rows: arrays `(count, height, width, channels)` by name, values from
            0 to 1; all of the same count.
        title: a line over them.

    Returns:
        A matplotlib figure.

    Raises:
        ValueError: if there are no images, or arrays of other axes.

    Example:
        >>> import numpy as np, tfdeep.visualization as visualization
        >>> images = np.zeros((3, 8, 8, 1))
        >>> len(visualization.image_rows({"input": images}).axes)
        1
    """
    rows = {name: np.asarray(images) for name, images in rows.items()}
    shapes = {name: images.shape for name, images in rows.items()}
    if not rows or any(len(s) != 4 or 0 in s for s in shapes.values()):
        raise ValueError(
            "`rows` must hold rows of images, each an array of shape (count, "
            f"height, width, channels) with an image in it. Received: {shapes}. "
            "Pass for example {'inputs': x[:8]}."
        )
    count = len(next(iter(rows.values())))
    figure = new_figure(1.2 + 0.8 * count, 0.5 + 0.8 * len(rows))
    for index, (name, images) in enumerate(rows.items(), start=1):
        axes = figure.add_subplot(len(rows), 1, index)
        wide = np.concatenate([np.clip(image, 0, 1) for image in images], 1)
        shown = wide[..., 0] if wide.shape[-1] == 1 else wide
        axes.imshow(shown, cmap="gray", vmin=0, vmax=1)
        axes.set_xticks([])
        axes.set_yticks([])
        axes.set_ylabel(name, rotation=0, ha="right", va="center")
    if title:
        figure.suptitle(title)
    return figure
