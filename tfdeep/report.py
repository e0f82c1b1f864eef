"""The one form of all reports: text, plain values, a file, a picture."""

import json
import math
import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


class Report:
    """Base of what a method found out.

    `str(report)` is a text for people. A subclass defines `__str__`, and

    - `_content()`: what was found, as a dictionary of numbers, text, arrays,
      and dictionaries or lists of them;
    - `_figure()`: a picture of it, made by `tfdeep.visualization`, which it
      imports there; `None` if there is nothing to draw.
    """

    def __str__(self) -> str:
        raise NotImplementedError

    def _content(self) -> dict[str, Any]:
        raise NotImplementedError

    def _figure(self) -> Any:
        raise NotImplementedError

    def to_dict(self) -> dict[str, Any]:
        """What was found, in the types of JSON.

        Numbers that are not finite become `None`, for which JSON has a word.
        """
        return plain(self._content())

    def save(self, path: str | Path) -> Path:
        """Write `to_dict()` as JSON; a reader never sees half a file.

        Args:
            path: the file to write.

        Returns:
            The path.
        """
        path = Path(path)
        write_json(path, self.to_dict())
        return path

    def plot(self, path: str | Path | None = None) -> Any:
        """Draw what was found.

        Args:
            path: a `.png` file to write, or `None`.

        Returns:
            A matplotlib figure.

        Raises:
            ImportError: if matplotlib is not installed.
            ValueError: if there is nothing to draw.
        """
        figure = self._figure()
        if figure is None:
            raise ValueError(
                "`plot` must have something to draw. Received: "
                f"{type(self).__name__} with nothing in it. Run what it "
                "reports of first"
            )
        if path is not None:
            from tfdeep.visualization import save

            save(figure, path)
        return figure


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write `content` so that a reader sees the old file or the new one.

    Numbers that are not finite become `null`.
    """
    text = json.dumps(plain(content), indent=2, allow_nan=False)
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        part.write_text(text + "\n", encoding="utf-8")
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def plain(value: Any) -> Any:
    """A value in the types of JSON, with `None` for what is not finite.

    Example:
        >>> import numpy as np
        >>> plain({"loss": np.array([0.5, np.nan]), "shape": (None, 2)})
        {'loss': [0.5, None], 'shape': [None, 2]}
    """
    if hasattr(value, "tolist"):  # NumPy's arrays and numbers.
        value = value.tolist()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    return value


def aligned(rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> str:
    """Rows of cells as text, in columns.

    Args:
        rows: the rows, the head first.
        right: the numbers of columns that end, and do not begin, in one line.

    Example:
        >>> print(aligned([["layer", "size"], ["a", "12"]], right=[1]))
        layer  size
        a        12
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if number in right else cell.ljust(width)
            for number, (cell, width) in enumerate(
                zip(row, widths, strict=True)
            )
        ).rstrip()
        for row in rows
    )


def warn_of_old_name(old: str, new: str) -> None:
    """Warn who calls a method by the name that it had before."""
    warnings.warn(
        f"`{old}` is going to be removed: use `{new}`.",
        DeprecationWarning,
        stacklevel=3,
    )
