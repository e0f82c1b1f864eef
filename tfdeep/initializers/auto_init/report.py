"""What was predicted, call by call."""

import dataclasses
import io
import json
import warnings
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from tfdeep.checks import check_choice, check_positive
from tfdeep.initializers.auto_init.visit import UNITS, Record
from tfdeep.report import Report, warn_of_old_name

# What can be verified, and what a table of it is called.
MOMENTS = {"second": "Second moments", "mean": "Means", "variance": "Variances"}

SCATTERED = 0.3  # Deviation of draws over their mean that is warned about.


class SignalReport(Report):
    """The second moments of a model's tensors, layer by layer.

    Prints as a table; `plot` draws mean^2 and variance by depth.

    Attributes:
        records: list of records with `name`, `layer`, `shape`, `mean`,
            `variance`, `second` (E[x^2]), `scale` (the standard deviation
            of the weights), `slope` (d ln E[y^2] / d ln E[x^2]), `branch`
            (of a sum: the variance of the residual branch) and `note`.
        skipped: list of `(layer, reason)` of the weights left alone.
        probed: names of layers without a rule, measured on a sample.
        growth: by how much a small relative change of the inputs' second
            moment has grown at the outputs; real draws scatter the more.
        deviation: by how much the outputs' second moment differs between
            real draws, in parts of its mean, estimated from one draw of nets
            of ten layers or more; 0 for others.
    """

    def __init__(
        self,
        records,
        skipped=(),
        probed=(),
        growth=1.0,
        remeasure=None,
        deviation=0.0,
    ):
        self.records: list[Record] = list(records)
        self.skipped = list(skipped)
        self.probed = list(probed)
        self.growth = growth
        self.deviation = deviation
        self._remeasure = remeasure

    def __len__(self):
        return len(self.records)

    def __getitem__(self, name: str) -> Record:
        """The first record of a layer, by its name."""
        for record in self.records:
            if record.name == name:
                return record
        raise KeyError(
            f"Layer '{name}' is not in the report. It has "
            f"{', '.join(sorted({r.name for r in self.records}))}."
        )

    def _content(self) -> dict[str, Any]:
        return {
            "records": [dataclasses.asdict(record) for record in self.records],
            "skipped": self.skipped,
            "probed": self.probed,
            "growth": self.growth,
            "deviation": self.deviation,
        }

    def to_json(self, path=None) -> str:
        """The old name of `save`, which returned the text."""
        warn_of_old_name("to_json", "save(path)` or `to_dict()")
        if path is not None:
            self.save(path)
        return json.dumps(self.to_dict(), indent=2)

    def table(self):
        """The report as a `rich` table."""
        table = Table(title="Signal propagation")
        columns = (
            "layer",
            "class",
            "mean",
            "variance",
            "second moment",
            "scale",
        )
        for name in (*columns, "slope", "note"):
            table.add_column(name, overflow="fold")
        for r in self.records:
            numbers = (r.mean, r.variance, r.second, r.scale, r.slope)
            cells = ["" if n is None else f"{n:.4g}" for n in numbers]
            table.add_row(r.name, r.layer, *cells, r.note)
        return table

    def verify(self, x=None, draws: int = 8, moment: str = "second"):
        """Measure what was predicted, by real forward passes.

        The model's weights are redrawn for each pass, and put back.

        Args:
            x: inputs, or `None` for random ones of the given statistics.
            draws: integer, at least 2, the number of passes.
            moment: `"second"`, `"mean"` or `"variance"`, what to compare.

        Warns of outputs of 16 units or more whose second moment, or
        variance, differs between draws by more than 0.3 of its mean: there
        the prediction says little of a single draw.

        Returns:
            A table with the arrays `predicted`, `measured`,
            `standard_error` and `deviation`, the list `names`, and
            `within(tolerance)`.
        """
        check_choice("moment", moment, MOMENTS)
        check_positive("draws", draws)
        if draws < 2:
            raise ValueError(
                "`draws` must be at least 2, as a standard error needs two. "
                f"Received: draws={draws}. Pass for example 8."
            )
        passes = self._remeasure(x, draws)
        measured = np.array([[getattr(r, moment) for r in p] for p in passes])
        verified = Verification(
            [r.name for r in self.records],
            np.array([getattr(r, moment) for r in self.records]),
            measured.mean(0),
            measured.std(0, ddof=1) / draws**0.5,
            MOMENTS[moment],
            draws,
        )
        if moment != "mean":
            wide = [np.prod(r.shape[1:]) >= UNITS for r in self.records]
            _warn_of_scatter(verified, np.array(wide))
        return verified

    def __str__(self) -> str:
        return render(self.table())

    __repr__ = __str__

    def _figure(self) -> Any:
        """Mean^2 and variance by depth."""
        from tfdeep.visualization import signal_propagation

        if not self.records:
            return None
        return signal_propagation(self.records, "Signal propagation")


@dataclasses.dataclass
class Verification(Report):
    """Predicted and measured moments, call by call.

    Attributes:
        names: the layers.
        predicted: array, of E[x^2] unless another moment was asked for.
        measured: array, the mean over the draws.
        standard_error: array, of that mean.
        title: what they are.
        draws: the number of passes.
        deviation: array, the standard deviation of single draws.
    """

    names: list[str]
    predicted: np.ndarray
    measured: np.ndarray
    standard_error: np.ndarray
    title: str = MOMENTS["second"]
    draws: int = 1

    @property
    def deviation(self) -> np.ndarray:
        """The standard deviation of single draws."""
        return self.standard_error * self.draws**0.5

    def within(self, tolerance: float, errors: float = 3.0) -> np.ndarray:
        """Which calls agree within `errors` standard errors or `tolerance`."""
        allowed = np.maximum(
            errors * self.standard_error, tolerance * np.abs(self.measured)
        )
        return np.abs(self.predicted - self.measured) <= allowed

    def _content(self) -> dict[str, Any]:
        return {
            "title": self.title,
            "draws": self.draws,
            "names": self.names,
            "predicted": self.predicted,
            "measured": self.measured,
            "standard_error": self.standard_error,
            "deviation": self.deviation,
        }

    def _figure(self) -> Any:
        """What was predicted, and what was measured, by depth."""
        from tfdeep.visualization.verification import verification

        return verification(self)

    def __str__(self) -> str:
        table = Table(title=f"{self.title}, predicted and measured")
        heads = ("predicted", "measured", "standard error", "deviation")
        for name in ("layer", *heads):
            table.add_column(name)
        columns = (
            self.predicted,
            self.measured,
            self.standard_error,
            self.deviation,
        )
        for name, *numbers in zip(self.names, *columns, strict=True):
            table.add_row(name, *(f"{n:.4g}" for n in numbers))
        return render(table)

    __repr__ = __str__


def _warn_of_scatter(verified, wide):
    large = verified.deviation > SCATTERED * np.abs(verified.measured)
    large = large & wide
    names = [n for n, each in zip(verified.names, large, strict=True) if each]
    if names:
        relative = verified.deviation[large] / verified.measured[large]
        warnings.warn(
            f"Real draws scatter at {len(names)} of {len(large)} calls, from "
            f"{names[0]!r} on, by up to {relative.max():.2g} of the mean: the "
            "prediction is that of many draws. Use polish=True, wider layers "
            "or normalization.",
            stacklevel=3,
        )


def average(passes) -> list[Record]:
    """The mean of the moments of equal passes, record by record."""
    return [
        dataclasses.replace(
            same[0],
            **{
                name: float(np.mean([getattr(record, name) for record in same]))
                for name in ("mean", "variance", "second")
            },
        )
        for same in zip(*passes, strict=True)
    ]


def render(table) -> str:
    """A table as text."""
    text = io.StringIO()
    Console(width=110, file=text).print(table)
    return text.getvalue()
