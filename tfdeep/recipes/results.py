"""What a recipe measured: metrics and histories per arm and seed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tfdeep.report import Report, aligned


@dataclass(frozen=True)
class Spread:
    """Mean and sample standard deviation over the seeds.

    Args:
        values: one measured value per seed.

    Example:
        >>> spread = Spread((0.10, 0.12, 0.14))
        >>> print(spread)
        0.12 ± 0.02
        >>> spread.clear
        True
    """

    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """The mean, NaN where any value is."""
        return float(np.mean(self.values))

    @property
    def std(self) -> float:
        """The sample standard deviation, NaN for fewer than two values."""
        if len(self.values) < 2 or not np.all(np.isfinite(self.values)):
            return math.nan
        return float(np.std(self.values, ddof=1))

    @property
    def clear(self) -> bool:
        """Whether the mean stands above zero by two standard errors."""
        error = self.std / math.sqrt(len(self.values))
        return self.mean > 2.0 * error

    def __str__(self) -> str:
        """Write `mean ± std`, or the mean alone where nothing is spread."""
        std = self.std
        if math.isnan(std) or std <= 1e-12 * abs(self.mean):  # By rounding.
            return written(self.mean)
        return f"{written(self.mean)} ± {written(std, digits=2)}"


def written(number: float, digits: int = 3) -> str:
    """Return a number in a few digits, or as many as its whole part has.

    Example:
        >>> written(0.12345), written(470218.0), written(1234.5)
        ('0.123', '470218', '1234')
    """
    whole = math.isfinite(number) and abs(number) >= 10**digits
    return f"{number:.0f}" if whole else f"{number:.{digits}g}"


@dataclass
class Entry:
    """What one arm with one seed left behind."""

    metrics: dict[str, float] = field(default_factory=dict)
    history: dict[str, list[float]] = field(default_factory=dict)

    def extend(self, history: Mapping[str, Iterable[float]]) -> None:
        """Append the epochs of a further `fit` to the history."""
        for key, values in history.items():
            numbers = [float(value) for value in values]
            self.history.setdefault(key, []).extend(numbers)


class Results(Report):
    """The measured values of a recipe, by arm, seed and metric.

    Example:
        >>> results = Results()
        >>> for seed, error in enumerate((0.4, 0.5, 0.6)):
        ...     results.record("plain", seed, test_error=error)
        ...     results.record("residual", seed, test_error=error - 0.2)
        >>> print(results.spread("plain", "test_error"))
        0.5 ± 0.1
        >>> results.difference("plain", "residual", "test_error").clear
        True
    """

    def __init__(self) -> None:
        self._arms: dict[str, dict[int, Entry]] = {}

    @classmethod
    def together(cls, parts: Iterable[Results]) -> Results:
        """Return the entries of several results, in their order.

        Where two have the same arm and seed, the later one counts.
        """
        whole = cls()
        for part in parts:
            for arm, seeds in part._arms.items():
                whole._arms.setdefault(arm, {}).update(seeds)
        return whole

    def entry(self, arm: str, seed: int) -> Entry:
        """Return what `arm` left with `seed`, empty at first."""
        return self._arms.setdefault(arm, {}).setdefault(seed, Entry())

    def record(self, arm: str, seed: int, **metrics: float) -> None:
        """Keep measured numbers under their names."""
        numbers = {name: float(value) for name, value in metrics.items()}
        self.entry(arm, seed).metrics.update(numbers)

    @property
    def arms(self) -> list[str]:
        """The arms that left anything, in the order of their runs."""
        return list(self._arms)

    @property
    def metrics(self) -> list[str]:
        """The names of all recorded metrics, in the order of recording."""
        entries = (e for seeds in self._arms.values() for e in seeds.values())
        return list(dict.fromkeys(n for e in entries for n in e.metrics))

    def by_seed(self, arm: str, metric: str) -> dict[int, float]:
        """Return the values of `metric` by seed, empty if it was not recorded."""
        seeds = self._arms.get(arm, {})
        return {
            seed: entry.metrics[metric]
            for seed, entry in seeds.items()
            if metric in entry.metrics
        }

    def spread(self, arm: str, metric: str) -> Spread:
        """Return the values of `metric` over the seeds of `arm`.

        Raises:
            KeyError: if it was not recorded.
        """
        values = self.by_seed(arm, metric)
        if not values:
            raise KeyError(
                f"`{metric}` of the arm {arm!r} was not recorded. "
                f"There are the arms {self.arms} and the metrics "
                f"{self.metrics}. Record it in the recipe's `run`."
            )
        return Spread(tuple(values.values()))

    def difference(self, arm: str, other: str, metric: str) -> Spread:
        """Return `arm` minus `other`, paired by seed.

        Raises:
            KeyError: if the two have no seed in common.
        """
        left, right = self.by_seed(arm, metric), self.by_seed(other, metric)
        paired = tuple(
            left[seed] - right[seed] for seed in left if seed in right
        )
        if not paired:
            raise KeyError(
                f"`{metric}` of {arm!r} and {other!r} share no seed. "
                "Record the metric for both arms with the same seeds."
            )
        return Spread(paired)

    def histories(self, arm: str, key: str) -> list[list[float]]:
        """Return the epochs of `key`, one list per seed that has it."""
        entries = self._arms.get(arm, {}).values()
        return [e.history[key] for e in entries if key in e.history]

    def summary(self) -> dict[str, dict[str, Spread]]:
        """Return the spread of every recorded metric by arm."""
        return {
            arm: {
                metric: self.spread(arm, metric)
                for metric in self.metrics
                if self.by_seed(arm, metric)
            }
            for arm in self._arms
        }

    def _content(self) -> dict[str, dict[str, dict[str, Any]]]:
        """Everything by arm and seed."""
        return {
            arm: {
                str(seed): {"metrics": entry.metrics, "history": entry.history}
                for seed, entry in seeds.items()
            }
            for arm, seeds in self._arms.items()
        }

    def __str__(self) -> str:
        rows = [["arm", *self.metrics]]
        for arm, spreads in self.summary().items():
            cells = (str(spreads.get(name, "")) for name in self.metrics)
            rows.append([arm, *cells])
        return aligned(rows)

    def _figure(self) -> Any:
        """The arms side by side, a panel for each metric."""
        from tfdeep.visualization import comparison

        if not self.metrics:
            return None
        return comparison(
            {
                name: {
                    arm: list(values.values())
                    for arm in self.arms
                    if (values := self.by_seed(arm, name))
                }
                for name in self.metrics
            }
        )
