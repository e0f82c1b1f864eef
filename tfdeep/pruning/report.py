"""What all reports of pruning can do."""

import json
import os
from typing import Any


class Report:
    """A report: `str`, `to_dict`, `save` and `plot`."""

    def to_dict(self) -> dict:
        """The report in the types of JSON."""
        raise NotImplementedError

    def save(self, path: str | os.PathLike) -> None:
        """Write `to_dict` to a file, as JSON."""
        with open(path, "w", encoding="utf-8") as file:
            json.dump(self.to_dict(), file, indent=1)


def table(head: tuple, rows: list[tuple]) -> str:
    """Rows under a head, the first column to the left, others to the right."""
    texts = [[_shown(each) for each in row] for row in [head, *rows]]
    sizes = [max(map(len, column)) for column in zip(*texts, strict=True)]
    return "\n".join(
        "  ".join(
            text.ljust(size) if column == 0 else text.rjust(size)
            for column, (text, size) in enumerate(zip(row, sizes, strict=True))
        ).rstrip()
        for row in texts
    )


def _shown(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)
