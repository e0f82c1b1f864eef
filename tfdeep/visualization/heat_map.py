"""A heat map: one value per layer and epoch."""

from typing import Any

import numpy as np

from tfdeep.visualization.figure import new_figure, panels


def heat_map(values: Any, name: str = "", title: str = "") -> Any:
    """Draw values by layer and epoch, the first layer at the bottom.

    Args:
        values: array of shape `(epochs, layers)`.
        name: what the values are, written beside the scale.
        title: written over the picture.

    Returns:
        A matplotlib figure, or `None` if there is nothing to draw.

    Raises:
        ImportError: if matplotlib is not installed.

    Example:
        >>> import numpy as np
        >>> figure = heat_map(np.eye(3), "batch entropy")
        >>> figure.axes[0].get_ylabel()
        'layer'
    """
    values = np.asarray(values)
    figure = new_figure(5.0, 4.0)
    if not values.size:
        return None
    (axes,) = panels(figure, 1)
    epochs, layers = values.shape
    image = axes.imshow(
        values.T,
        aspect="auto",
        origin="lower",
        interpolation="nearest",
        extent=(0.5, epochs + 0.5, 0.5, layers + 0.5),
        vmin=0.0,
        cmap="viridis",
    )
    axes.set(xlabel="epoch", ylabel="layer")
    axes.locator_params(integer=True)
    figure.colorbar(image, ax=axes, label=name)
    figure.suptitle(title, fontsize=11)
    return figure
