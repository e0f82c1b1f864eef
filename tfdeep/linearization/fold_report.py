"""What is folded in a model, what is left and why, and what it saves."""

import time
import warnings
from dataclasses import asdict, dataclass, field
from typing import Any

import keras
import numpy as np

from tfdeep.checks import check_positive
from tfdeep.models.counting import count
from tfdeep.report import Report


@dataclass(frozen=True)
class Fold:
    """Layers in a row that are, or could be, one.

    Args:
        paths: the paths of their calls.
        kind: what they become, such as `"Conv2D 5x5"`.
        multiply_adds: before and after, of one example; where sizes are
            unknown, for each place of the output.
        why: why they are left, empty where they are folded.
    """

    paths: tuple[str, ...]
    kind: str
    multiply_adds: tuple[int, int] | None
    why: str = ""


@dataclass(frozen=True)
class Foldable(Report):
    """What `tfdeep.linearization.foldable` finds.

    Args:
        units: the paths of units that are linear, and left out.
        folded: layers that become one.
        left: layers in a row that do not, each with the reason.
        parameters: those of the model, before and after.
        multiply_adds: of one example, before and after; `None` where a size
            or a layer's cost is not known.
        models: the given model, and the folded one.
    """

    units: tuple[str, ...]
    folded: tuple[Fold, ...]
    left: tuple[Fold, ...]
    parameters: tuple[int, int]
    multiply_adds: tuple[int, int] | None
    models: tuple[keras.Model, keras.Model] = field(repr=False, compare=False)

    def measure(self, x: Any, repeats: int = 20) -> tuple[float, float]:
        """Time inference before and after.

        Both models predict the batch in turn, twice before that is timed.

        Args:
            x: a batch of inputs of the model.
            repeats: integer, how often each of them is timed.

        Returns:
            Seconds of `predict_on_batch(x)`, the median, before and after.

        Raises:
            ValueError: if `repeats` is not positive.

        Example:
            >>> import keras, numpy as np, tfdeep
            >>> model = keras.Sequential([keras.Input((8,))])
            >>> model.add(keras.layers.Dense(64))
            >>> model.add(keras.layers.Dense(4))
            >>> found = tfdeep.linearization.foldable(model)
            >>> before, after = found.measure(np.ones((32, 8)), repeats=3)
            >>> before > 0 and after > 0
            True
        """
        check_positive("repeats", repeats)
        rows = [
            [_seconds(m, x) for m in self.models] for _ in range(2 + repeats)
        ]
        before, after = np.median(rows[2:], axis=0)
        return float(before), float(after)

    def __str__(self):
        lines = [f"{len(self.units)} linear units are left out"]
        for fold in self.folded:
            paths = " + ".join(fold.paths)
            costs = _change("multiply-adds", fold.multiply_adds or (0, 0))
            lines.append(f"{paths} become {fold.kind}: {costs}")
        for fold in self.left:
            lines.append(f"{' + '.join(fold.paths)} stay: {fold.why}")
        lines.append(f"in all {_change('parameters', self.parameters)}")
        if self.multiply_adds:
            costs = _change("multiply-adds", self.multiply_adds)
            lines[-1] += f", {costs}"
        return "\n".join(lines)

    def _content(self) -> dict:
        return {
            "units": self.units,
            "folded": [asdict(fold) for fold in self.folded],
            "left": [asdict(fold) for fold in self.left],
            "parameters": self.parameters,
            "multiply_adds": self.multiply_adds,
        }

    def _figure(self):
        """The multiply-adds of what is folded, before and after."""
        from tfdeep.visualization.bars import bar_chart

        known = [fold for fold in self.folded if fold.multiply_adds]
        if not known:
            return None
        before, after = zip(*(f.multiply_adds for f in known), strict=True)
        names = [" + ".join(fold.paths) for fold in known]
        return bar_chart(names, {"before": before, "after": after})


def multiply_adds_of(model: keras.Model) -> int | None:
    """The multiply-adds of one example, `None` where some are not known."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # Of what is not known.
        try:
            found = count(model)
        except ValueError:  # Sizes of inputs are not.
            return None
    return None if found.unknown else found.multiply_adds


def _change(what: str, numbers: tuple[int, int]) -> str:
    return f"{numbers[0]:,} -> {numbers[1]:,} {what}"


def _seconds(model: keras.Model, x: Any) -> float:
    start = time.perf_counter()
    model.predict_on_batch(x)
    return time.perf_counter() - start
