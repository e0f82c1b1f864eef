"""Numbers that say how much each channel counts."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np

from tfdeep.report import Report, aligned


class Correlation(NamedTuple):
    """How alike two criteria are.

    Args:
        pearson: of the scores.
        spearman: of their ranks.
    """

    pearson: float
    spearman: float


class Scores(Report, Mapping):
    """The score of each channel: a mapping from names of groups to arrays.

    Args:
        arrays: dict from names of groups to arrays.

    Example:
        >>> from tfdeep.pruning import Scores
        >>> scores = Scores({"low": [1.0, 2.0, 4.0], "high": [5.0]})
        >>> scores["low"].tolist(), len(scores)
        ([1.0, 2.0, 4.0], 2)
        >>> other = Scores({"low": [2.0, 3.0, 9.0], "high": [27.0]})
        >>> round(scores.correlation(other).spearman, 6)
        1.0
    """

    def __init__(self, arrays: Mapping):
        self._arrays = {
            name: np.asarray(values) for name, values in arrays.items()
        }

    def __getitem__(self, name: str) -> np.ndarray:
        return self._arrays[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    def correlation(self, other: Mapping) -> Correlation:
        """How alike these scores and others are, over all channels of both.

        Args:
            other: `Scores` of the same model. Channels whose score is not
                finite do not count.

        Returns:
            A `Correlation` with `.pearson` and `.spearman`.

        Raises:
            ValueError: if they have no group in common, or one of another
                size.
        """
        common = [name for name in self if name in other]
        if not common or any(
            np.shape(self[n]) != np.shape(other[n]) for n in common
        ):
            raise ValueError(
                "`other` must be scores of the same model. Received: groups "
                f"{list(other)[:3]} beside {list(self)[:3]}"
            )
        one = np.concatenate([self[name] for name in common]).astype(float)
        two = np.concatenate([other[name] for name in common]).astype(float)
        finite = np.isfinite(one) & np.isfinite(two)
        one, two = one[finite], two[finite]
        return Correlation(
            _pearson(one, two), _pearson(_ranks(one), _ranks(two))
        )

    def _content(self) -> dict:
        return dict(self)

    def __str__(self) -> str:
        rows = [
            [
                name,
                str(len(v)),
                *(f"{f(v):.3g}" for f in (np.min, np.mean, np.max)),
            ]
            for name, v in self.items()
        ]
        head = ["group", "channels", "least", "mean", "largest"]
        return aligned([head, *rows], range(1, 5))

    def _figure(self):
        """The mean score of each group."""
        from tfdeep.visualization.bars import bar_chart

        means = [float(values.mean()) for values in self.values()]
        return bar_chart(list(self), {"mean score": means})


def _pearson(one: np.ndarray, two: np.ndarray) -> float:
    one, two = one - one.mean(), two - two.mean()
    scale = np.sqrt((one**2).sum() * (two**2).sum())
    return float((one * two).sum() / scale) if scale else float("nan")


def _ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 0, the mean of them where values are equal."""
    _, places, counts = np.unique(
        values, return_inverse=True, return_counts=True
    )
    ends = np.cumsum(counts)
    return ((ends - counts + ends - 1) / 2)[places.ravel()]
