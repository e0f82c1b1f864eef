"""What is known about a tensor: the law of its values over weight draws."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Signal:
    """The moments of a tensor.

    Attributes:
        mean: float, E[x].
        second: array that broadcasts against the tensor, E[x^2] by position;
            its batch and channel axes have size 1.
        gaussian: whether every value is normal with mean 0.
        draws: the weight draws the tensor depends on.
        fresh: the draw of which the tensor is a linear image, or `None`:
            its products with anything that does not depend on that draw
            are zero in expectation.
        sensitivity: d ln q / d ln q_0, how much a relative change of the
            second moment at the last normalization has grown since.
        scatter: variance of ln q over real draws of the weights since the
            last normalization, as one draw tells it.
    """

    mean: float
    second: np.ndarray
    gaussian: bool = False
    draws: frozenset = frozenset()
    fresh: int | None = None
    sensitivity: float = 1.0
    scatter: float = 0.0

    @property
    def q(self) -> float:
        """E[x^2], over all positions."""
        return float(np.mean(self.second))

    @property
    def variance(self) -> float:
        """E[x^2] - E[x]^2."""
        return max(self.q - self.mean**2, 0.0)

    def replace(self, **changes) -> "Signal":
        """A copy with other values."""
        return dataclasses.replace(self, **changes)

    def uncorrelated(self, other: "Signal") -> bool:
        """Whether E[x y] = 0 by the draw of one of them."""
        return (self.fresh is not None and self.fresh not in other.draws) or (
            other.fresh is not None and other.fresh not in self.draws
        )


def measure(values: np.ndarray, axis: int = -1, **knowledge) -> Signal:
    """The signal of a sample: batch first, channels on `axis`."""
    values = np.asarray(values, "float64")
    square = np.square(values)
    if values.ndim < 3:
        second = np.mean(square).reshape((1,) * values.ndim)
    else:
        second = np.mean(square, axis=(0, axis), keepdims=True)
    return Signal(float(np.mean(values)), second, **knowledge)
