"""One forward pass in which moments travel along with a sample.

The sample is a batch that the model really computes, so that correlations,
masks and shapes are what they are.  Where theory knows a moment exactly (a
layer of fresh weights, a function of a normal variable, dropout) the moment
is taken from there and the sample is rescaled to it: errors of one draw do
not add up with depth.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from tfdeep import backend
from tfdeep.initializers.auto_init.interception import intercept
from tfdeep.initializers.auto_init.looked_up import check_ids, is_lookup
from tfdeep.initializers.auto_init.signal import Signal, measure
from tfdeep.masks import mask_of, with_mask

DEEP = 10  # Layers of weights, of which one draw can tell how draws scatter.

UNITS = 16  # Of a layer that counts there.


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


class Propagation:
    """The state of a pass, which the rules read and write.

    Args:
        find_rule: `find_rule(operation)`, the rule for its call.
        choose: `choose(layer, variable, unit_second)`, called before the
            first call of each layer with weights; it may assign the
            variable. Returns `(deviation, note)`: the standard deviation of
            the law the weights come from, or `None` to measure it.
            `unit_second` is E[y^2] at weights of variance 1.
        rescale: whether the sample follows the predicted moments. If not,
            the pass measures.
        polish: whether the moments follow the sample, and chosen weights are
            corrected so that their outputs have the target's.
        rng: NumPy generator of the draws that rules make.
        made_up: whether the inputs are random numbers.

    Attributes:
        records: what was predicted, call by call.
        probed: names of layers without a rule.
        growth: by how much a small relative change of the inputs' second
            moment has grown at the outputs.
        deviation: by how much, in parts of the mean, the second moment of
            outputs of deep nets differs between real draws, as one draw
            tells it; 0 for others.
        pointwise: which functions act on each value alone, by `id`.
        kept: variables that rules have assigned for good, besides those that
            `choose` has.
        failure: what broke the pass off, if a look-up did.
    """

    def __init__(
        self,
        find_rule,
        choose=None,
        rescale: bool = True,
        polish: bool = False,
        rng=None,
        made_up: bool = False,
    ):
        self._find_rule = find_rule
        self.rng = rng or np.random.default_rng()
        self.choose = choose
        self.made_up = made_up
        self.failure: Exception | None = None
        self.rescale = rescale and not polish
        self.polish = polish
        self.records: list[Record] = []
        self.probed: list[str] = []
        self.growth = 1.0
        self.deviation = 0.0
        self.pointwise: dict = {}
        self.kept: list = []
        self._signals: dict = {}
        self._variances: dict = {}
        self._inputs: list = []
        self._draws: dict = {}
        self._deviations: dict[int, float] = {}
        self._notes: list[str] = []
        self._scale: float | None = None
        self._branch: float | None = None
        self._paused = False
        self._chosen: Any = None

    def run(self, model, inputs, signals):
        """Call the model on the inputs, whose signals are known."""
        flat = keras.tree.flatten(inputs)
        self._inputs = list(zip(flat, signals, strict=True))
        with intercept(self._handle):
            outputs = model(inputs, training=True)
        ends = [
            self.signal(y) for y in keras.tree.flatten(outputs) if is_tensor(y)
        ]
        self.growth = max((y.sensitivity for y in ends), default=1.0)
        deep = [y.scatter for y in ends if len(y.draws) >= DEEP]
        scatter = max(deep, default=0.0)
        self.deviation = float(np.sqrt(np.expm1(min(scatter, 50.0))))

    def signal(self, tensor) -> Signal:
        """What is known about a tensor; measured if nothing is."""
        known = self._signals.get(id(tensor))
        if known is not None:
            return known[1]
        values = to_numpy(tensor)
        for sample, signal in self._inputs:
            if sample.shape == values.shape and np.array_equal(sample, values):
                return self.know(tensor, signal)
        return self.know(tensor, measure(values, channel_axis(values.ndim)))

    def _source(self, tensor) -> int | None:
        """Which of the inputs the tensor is, if it is made up."""
        if not self.made_up:
            return None
        values = to_numpy(tensor)
        for index, (sample, _) in enumerate(self._inputs):
            same = sample.size == values.size
            if same and np.array_equal(sample.ravel(), values.ravel()):
                return index
        return None

    def knows(self, tensor) -> bool:
        """Whether a rule has said what the tensor's signal is."""
        return id(tensor) in self._signals

    def all_draws(self) -> frozenset:
        """The numbers of all weight draws until now."""
        return frozenset(number for number, _ in self._draws.values())

    def know(self, tensor, signal: Signal) -> Signal:
        """Remember the signal of a tensor, and keep the tensor alive."""
        self._signals[id(tensor)] = (tensor, signal)
        return signal

    def know_variances(self, tensor, variances: Callable) -> None:
        """Remember how to find a tensor's variances, up to a factor.

        Those given the inputs of the layer of new weights that made it.
        """
        self._variances[id(tensor)] = (tensor, variances)

    def variances(self, tensor) -> np.ndarray | None:
        """E[y^2] of a tensor given what made it, by sample and position."""
        if id(tensor) not in self._variances:
            return None
        shares = self._variances[id(tensor)][1]()
        return shares * (self.signal(tensor).q / max(np.mean(shares), 1e-300))

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

    def corrected(self, variable, tensor, target: float):
        """A layer's output, after its weights gave it this second moment.

        Nothing happens to weights that were not chosen in this call.
        """
        chosen, self._chosen = self._chosen, None
        measured = float(np.mean(np.square(to_numpy(tensor), dtype="float64")))
        if not self.polish or chosen is not variable or measured == 0:
            return tensor
        factor = (target / measured) ** 0.5
        variable.assign(variable * factor)
        values = to_numpy(tensor)
        return like(tensor, (values * factor).astype(values.dtype))

    def draw(self, layer) -> tuple[int, bool]:
        """The number of a layer's weight draw, and whether it is new."""
        new = id(layer) not in self._draws
        number, _ = self._draws.setdefault(
            id(layer), (len(self._draws) + 1, layer)
        )
        return number, new

    def weights(self, layer, variable, unit_second: float, new: bool) -> float:
        """Let the weights be chosen; return their second moment."""
        if new and self.choose is not None:
            deviation, note = self.choose(layer, variable, unit_second)
            if note:
                self.note(note)
            if deviation is not None:
                self._deviations[id(variable)] = deviation
                self._chosen = variable
        deviation = self._deviations.get(id(variable))
        if deviation is None:
            values = to_numpy(variable).astype("float64")
            deviation = float(np.mean(np.square(values))) ** 0.5
        self._scale = deviation
        return deviation**2

    def note(self, text: str) -> None:
        """Say something about the call that is being handled."""
        if text not in self._notes:
            self._notes.append(text)

    def sums(self, parts: list[Signal]) -> None:
        """Say that the call sums these; the last made is the branch.

        It is the one that passed the most layers of weights.
        """
        if len({len(part.draws) for part in parts}) > 1:
            branch = max(parts, key=lambda part: len(part.draws))
            self._branch = branch.variance

    def opaque(self, call, args, kwargs):
        """Make a call without looking at what happens inside."""
        paused, self._paused = self._paused, True
        try:
            return call(*args, **kwargs)
        finally:
            self._paused = paused

    def _handle(self, operation, call, args, kwargs):
        if self._paused or not concrete((args, kwargs)):
            return call(*args, **kwargs)
        before = self._notes, self._scale, self._branch
        self._notes, self._scale, self._branch = [], None, None
        try:
            if is_lookup(operation, args, kwargs):
                self._check_ids(operation, keras.tree.flatten(args[:1]))
            rule = self._find_rule(operation)
            outputs = rule(self, operation, call, args, kwargs)
            self._record(operation, args, outputs)
        finally:
            self._notes, self._scale, self._branch = before
        return outputs

    def _check_ids(self, layer, tensors):
        for x in tensors:
            try:
                check_ids(layer, x, self._source(x))
            except Exception as error:  # Keras makes others of it.
                self.failure = error
                raise

    def _record(self, operation, args, outputs):
        if isinstance(operation, keras.Model):
            return
        inputs = [x for x in keras.tree.flatten(args) if is_tensor(x)]
        sensitivity = self.signal(inputs[0]).sensitivity if inputs else 1.0
        for tensor in keras.tree.flatten(outputs):
            if not is_tensor(tensor):
                continue
            signal = self.signal(tensor)
            slope = signal.sensitivity / sensitivity if sensitivity else None
            if not self.rescale:
                signal = measure(to_numpy(tensor))
            self.records.append(
                Record(
                    operation.name,
                    type(operation).__name__,
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


def to_numpy(tensor) -> np.ndarray:
    """The values of a tensor; half precision as float32."""
    values = ops.convert_to_numpy(tensor)
    if values.dtype.name in ("float16", "bfloat16"):
        values = values.astype("float32")
    return values


def like(tensor, values):
    """A tensor of these values, of the same dtype and with the same mask."""
    result = ops.convert_to_tensor(values, dtype=tensor.dtype)
    return with_mask(result, mask_of(tensor))


def is_tensor(x) -> bool:
    """Whether x is a tensor of numbers."""
    return (
        hasattr(x, "shape")
        and hasattr(x, "dtype")
        and "float" in keras.backend.standardize_dtype(x.dtype)
    )


def concrete(structure) -> bool:
    """Whether all tensors have values: none is symbolic or being traced."""
    return all(
        backend.is_concrete(x)
        for x in keras.tree.flatten(structure)
        if hasattr(x, "shape")
    )


def channel_axis(rank: int) -> int:
    """Where channels are, by Keras' setting."""
    first = keras.config.image_data_format() == "channels_first"
    return 1 if first and rank > 3 else -1
