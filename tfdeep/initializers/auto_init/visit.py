"""One call in a pass: what its rule is told, and what it says of the call."""

import dataclasses
from typing import Any

import keras
import numpy as np

from tfdeep.graph.opening import CannotOpen
from tfdeep.graph.within import program_within
from tfdeep.initializers.auto_init.interception import intercept, unseen
from tfdeep.initializers.auto_init.signal import Signal, measure
from tfdeep.initializers.auto_init.tensors import is_tensor, like, to_numpy

UNITS = 16  # Of a layer of which one draw tells how draws scatter.


@dataclasses.dataclass
class Record:
    """What was predicted for one call of a layer."""

    name: str
    layer: str
    shape: tuple
    mean: float
    variance: float
    second: float
    scale: float | None = None
    slope: float | None = None
    branch: float | None = None
    note: str = ""


class Visit:
    """One call of a layer or operation in a pass.

    What is not about this call is the pass's: `signal(x)` and all else that a
    `Propagation` has.

    Args:
        walk: the `Propagation`.
        operation: the layer or operation.
    """

    def __init__(self, walk: Any, operation: Any):
        self._walk = walk
        self._operation = operation
        self._notes: list[str] = []
        self._scale: float | None = None
        self._branch: float | None = None
        self._chosen: Any = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._walk, name)

    def inside(self, *args, **kwargs):
        """Make the call, and follow the calls within it by their own rules."""
        operation = self._operation
        with unseen():
            try:
                found = program_within(operation, args, kwargs)
            except CannotOpen:
                with intercept(self._walk.seen, but=operation):
                    return operation(*args, **kwargs)
            if found is None:
                return operation(*args, **kwargs)
            program, inputs = found
            model = isinstance(operation, keras.Model)
            step = self._walk.step if model else self._walk.step_in_layer
            return program.run(inputs, True, step)

    def whole(self, *args, **kwargs):
        """Make the call without looking at what happens within it."""
        with unseen():
            return self._operation(*args, **kwargs)

    def give(self, tensor, signal: Signal, drawn: bool = False):
        """The tensor, rescaled to the signal's second moment.

        If it is what new weights made, by how much it differs from that says
        how much real draws do.
        """
        values = to_numpy(tensor)
        measured = float(np.mean(np.square(values, dtype="float64")))
        # Of few units, as of a classifier's, it says little.
        drawn = drawn and values[0].size >= UNITS
        if drawn and self.rescale and measured > 0 and signal.q > 0:
            off = np.log(measured / signal.q) ** 2
            signal = signal.replace(scatter=signal.scatter + float(off))
        if self.rescale and measured > 0:
            factor = (signal.q / measured) ** 0.5
            values = (values * factor).astype(values.dtype)
            tensor = like(tensor, values)
        if self.polish and signal.q > 0:
            factor = measured / signal.q
            signal = signal.replace(second=signal.second * factor)
        self.know(tensor, signal)
        return tensor

    def weights(self, layer, variable, unit_second: float, new: bool) -> float:
        """Let the weights be chosen; return their second moment."""
        if new and self.choose is not None:
            deviation, note = self.choose(layer, variable, unit_second)
            if note:
                self.note(note)
            if deviation is not None:
                self.deviations[id(variable)] = deviation
                self._chosen = variable
        deviation = self.deviations.get(id(variable))
        if deviation is None:
            values = to_numpy(variable).astype("float64")
            deviation = float(np.mean(np.square(values))) ** 0.5
        self._scale = deviation
        return deviation**2

    def corrected(self, variable, tensor, target: float):
        """A layer's output, after its weights gave it this second moment.

        Nothing happens to weights that were not chosen in this call.
        """
        measured = float(np.mean(np.square(to_numpy(tensor), dtype="float64")))
        chosen = self._chosen is variable
        if not self.polish or not chosen or measured == 0:
            return tensor
        factor = (target / measured) ** 0.5
        variable.assign(variable * factor)
        values = to_numpy(tensor)
        return like(tensor, (values * factor).astype(values.dtype))

    def note(self, text: str) -> None:
        """Say something about the call."""
        if text not in self._notes:
            self._notes.append(text)

    def sums(self, parts: list[Signal]) -> None:
        """Say that the call sums these; the last made is the branch.

        It is the one that passed the most layers of weights.
        """
        if len({len(part.draws) for part in parts}) > 1:
            branch = max(parts, key=lambda part: len(part.draws))
            self._branch = branch.variance

    def recorded(self, args, outputs) -> list[Record]:
        """What is known of the outputs that the call has returned."""
        if isinstance(self._operation, keras.Model):
            return []
        inputs = [x for x in keras.tree.flatten(args) if is_tensor(x)]
        sensitivity = self.signal(inputs[0]).sensitivity if inputs else 1.0
        found = []
        for tensor in filter(is_tensor, keras.tree.flatten(outputs)):
            signal = self.signal(tensor)
            slope = signal.sensitivity / sensitivity if sensitivity else None
            if not self.rescale:
                signal = measure(to_numpy(tensor))
            found.append(
                Record(
                    self._operation.name,
                    type(self._operation).__name__,
                    tuple(tensor.shape),
                    signal.mean,
                    signal.variance,
                    signal.q,
                    self._scale,
                    slope,
                    self._branch,
                    "; ".join(self._notes),
                )
            )
        return found
