"""What the pictures share: panels, colours, and saving as a whole."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

# Okabe and Ito, "Color Universal Design", 2008: told apart by colour-blind
# readers too; the pale yellow of the set is left out.
COLORS = (
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000",
)  # fmt: skip


def color(index: int) -> str:
    """Return the colour of the arm at `index`.

    Example:
        >>> color(0) == color(len(COLORS))
        True
    """
    return COLORS[index % len(COLORS)]


def filled(panels: Mapping[str, Mapping[str, Any]]) -> dict[str, dict]:
    """Return the panels and arms that have any values.

    Example:
        >>> filled({"loss": {"a": [1.0], "b": []}, "error": {"a": []}})
        {'loss': {'a': [1.0]}}
    """
    kept = {
        name: {arm: values for arm, values in arms.items() if len(values)}
        for name, arms in panels.items()
    }
    return {name: arms for name, arms in kept.items() if arms}


def colors_of(panels: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Return the colour of each arm, the same one in every panel.

    Example:
        >>> list(colors_of({"loss": {"a": [1.0]}, "error": {"b": [1.0]}}))
        ['a', 'b']
    """
    arms = dict.fromkeys(arm for each in panels.values() for arm in each)
    return {arm: color(index) for index, arm in enumerate(arms)}


def legend(figure: Any, colors: Mapping[str, str]) -> None:
    """Name the colours at the right of a figure.

    matplotlib leaves out names that begin with an underscore: they are
    written when the legend is there.
    """
    from matplotlib.lines import Line2D

    lines = [Line2D([], [], color=each) for each in colors.values()]
    made = figure.legend(
        lines, ["arm"] * len(lines), loc="outside right center", frameon=False
    )
    for text, arm in zip(made.get_texts(), colors, strict=True):
        text.set_text(arm)


def new_figure(width: float, height: float) -> Any:
    """Return an empty figure of a size in inches, drawn by Agg.

    Raises:
        ImportError: if matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            "The pictures were not drawn: they need matplotlib, which is not "
            "installed. Get it with: pip install 'tfdeep[plot]'"
        ) from error
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def clean(axes: Any, grid: str = "both") -> None:
    """Leave only the two axes that are read, over a faint grid."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis=grid, color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)


def words(name: str) -> str:
    """Return the name of a metric for a reader.

    Example:
        >>> words("val_accuracy"), words("cpu_seconds")
        ('validation accuracy', 'CPU seconds')
    """
    prefix = "validation " if name.startswith("val_") else ""
    spoken = name.removeprefix("val_").replace("_", " ").split()
    return prefix + " ".join(
        "CPU" if word == "cpu" else word for word in spoken
    )


def panels(figure: Any, count: int) -> Sequence[Any]:
    """Return `count` axes side by side."""
    return figure.subplots(1, count, squeeze=False)[0]


def save(figure: Any, path: str | Path, dpi: int = 150) -> Path:
    """Save a figure as PNG; a reader never sees half a file.

    Args:
        figure: the figure, as returned by the other functions.
        path: the file to write, ending in `.png`.
        dpi: integer, dots per inch.

    Returns:
        The path.

    Example:
        >>> import tempfile
        >>> figure = new_figure(2.0, 1.0)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save(figure, Path(folder) / "empty.png").name
        'empty.png'
    """
    path = Path(path)
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        figure.savefig(part, format="png", dpi=dpi)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
    return path
