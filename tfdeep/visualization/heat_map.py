"""Heat maps: one value per layer and epoch."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from tfdeep.visualization.figure import new_figure, panels


def heat_map(values: Mapping[str, Any], name: str = "", title: str = "") -> Any:
    """Draw values by layer and epoch, the first layer at the bottom.

    Args:
        values: arrays of shape `(epochs, layers)`, by the title of a panel;
            all panels have one scale, which holds 0.
        name: what the values are, written beside the scale.
        title: written over the panels.

    Returns:
        A matplotlib figure, or `None` if there is nothing to draw.

    Raises:
        ValueError: if an array has other axes.
        ImportError: if matplotlib is not installed.

    Example:
        >>> import numpy as np
        >>> figure = heat_map({"plain": np.eye(3)}, "batch entropy")
        >>> figure.axes[0].get_title(), figure.axes[0].get_ylabel()
        ('plain', 'layer')
    """
    arrays = {key: np.asarray(value) for key, value in values.items()}
    arrays = {key: array for key, array in arrays.items() if array.size}
    for key, array in arrays.items():
        if array.ndim != 2:
            raise ValueError(
                f"A map must be an array of shape (epochs, layers). Received: "
                f"{key!r} of shape {array.shape}. Pass for one epoch "
                "values[None]."
            )
    figure = new_figure(2.0 + 2.8 * len(arrays), 3.6)
    if not arrays:
        return None
    known = [array[np.isfinite(array)] for array in arrays.values()]
    ends = np.concatenate([*known, [0.0]])
    scale = (float(ends.min()), float(ends.max()))
    if scale[0] == scale[1]:
        scale = (0.0, 1.0)
    axes = panels(figure, len(arrays))
    for each, (key, array) in zip(axes, arrays.items(), strict=True):
        image = _draw(each, array, scale)
        each.set(title=key, xlabel="epoch", ylabel="layer")
    figure.colorbar(image, ax=list(axes), label=name)
    figure.suptitle(title, fontsize=11)
    return figure


def _draw(axes: Any, array: np.ndarray, scale: tuple) -> Any:
    epochs, layers = array.shape
    image = axes.imshow(
        array.T,
        aspect="auto",
        origin="lower",
        interpolation="nearest",
        extent=(0.5, epochs + 0.5, 0.5, layers + 0.5),
        vmin=scale[0],
        vmax=scale[1],
        cmap="viridis",
    )
    axes.locator_params(integer=True)
    return image
