"""What GradInit found: the scales, and how it came to them."""

from dataclasses import dataclass
from typing import Any

from tfdeep.report import Report, aligned


@dataclass(frozen=True)
class ScaleReport(Report):
    """The scales that GradInit learned; prints as a table.

    `plot` draws loss, norm and scales by iteration.

    Args:
        settings: those of the `GradInit`.
        scales: the final scale by weight path.
        history: lists by name, with one entry per iteration.
    """

    settings: dict[str, Any]
    scales: dict[str, float]
    history: dict[str, list]

    def __str__(self) -> str:
        if not self.history:
            return "No model has been initialized yet."
        losses, norms = self.history["loss"], self.history["norm"]
        title = (
            f"{len(losses)} iterations: the loss went from {losses[0]:.4g} to "
            f"{losses[-1]:.4g}, the norm from {norms[0]:.4g} to {norms[-1]:.4g}"
        )
        rows = [[name, f"{scale:.4g}"] for name, scale in self.scales.items()]
        return "\n".join([title, aligned([["weight", "scale"], *rows], [1])])

    def _content(self) -> dict[str, Any]:
        return {
            "settings": self.settings,
            "scales": self.scales,
            "history": self.history,
        }

    def _figure(self) -> Any:
        from tfdeep.visualization.figure import clean, new_figure, panels

        if not self.history:
            return None
        figure = new_figure(12.0, 3.2)
        for axes, name in zip(
            panels(figure, 3), ("loss", "norm", "scales"), strict=True
        ):
            axes.plot(self.history[name], linewidth=1.0)
            axes.set(xlabel="iteration", ylabel=name)
            if name == "norm":
                axes.set_yscale("log")
                if self.settings["objective"] == "gradinit":
                    gamma = self.settings["gamma"]
                    axes.axhline(gamma, color="black", linestyle=":")
            clean(axes)
        return figure
