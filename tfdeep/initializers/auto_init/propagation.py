"""One forward pass in which moments travel along with a sample.

The sample is a batch that the model really computes, so that correlations,
masks and shapes are what they are.  Where theory knows a moment exactly (a
layer of fresh weights, a function of a normal variable, dropout) the moment
is taken from there and the sample is rescaled to it: errors of one draw do
not add up with depth.
"""

from collections.abc import Callable

import keras
import numpy as np

from tfdeep.initializers.auto_init.looked_up import check_ids, is_lookup
from tfdeep.initializers.auto_init.signal import Signal, measure
from tfdeep.initializers.auto_init.tensors import (
    channel_axis,
    concrete,
    is_tensor,
    to_numpy,
)
from tfdeep.initializers.auto_init.visit import Record, Visit

DEEP = 10  # Layers of weights, of which one draw can tell how draws scatter.


class Propagation:
    """A pass through a model: what is known of the tensors it has met.

    A rule gets the `Visit` of its call, which has all of this too.

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
        deviations: the standard deviations that were chosen, by the `id` of
            the variable.
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
        self.rescale = rescale and not polish
        self.polish = polish
        self.records: list[Record] = []
        self.probed: list[str] = []
        self.growth = 1.0
        self.deviation = 0.0
        self.pointwise: dict = {}
        self.kept: list = []
        self.deviations: dict[int, float] = {}
        self._signals: dict = {}
        self._variances: dict = {}
        self._inputs: list = []
        self._draws: dict = {}

    def run(self, model, inputs, signals):
        """Call the model on the inputs, whose signals are known."""
        flat = keras.tree.flatten(inputs)
        self._inputs = list(zip(flat, signals, strict=True))
        outputs = self.part(model, inputs, training=True)
        ends = [
            self.signal(y) for y in keras.tree.flatten(outputs) if is_tensor(y)
        ]
        self.growth = max((y.sensitivity for y in ends), default=1.0)
        deep = [y.scatter for y in ends if len(y.draws) >= DEEP]
        scatter = max(deep, default=0.0)
        self.deviation = float(np.sqrt(np.expm1(min(scatter, 50.0))))

    def part(self, operation, *args, **kwargs):
        """What a layer or operation makes of tensors, by its own rule.

        Rules call the layers within their layer so.
        """
        if is_lookup(operation, args, kwargs):
            for x in keras.tree.flatten(args[:1]):
                check_ids(operation, x, self._source(x))
        visit = Visit(self, operation)
        rule = self._find_rule(operation)
        outputs = rule(visit, operation, visit.inside, args, kwargs)
        self.records += visit.recorded(args, outputs)
        return outputs

    def step(self, step, args, kwargs):
        """The same for a step of a model, as its handler."""
        return self.part(step.operation, *args, **kwargs)

    def step_in_layer(self, step, args, kwargs):
        """The same within a layer, whose arithmetic is its own."""
        if isinstance(step.operation, keras.layers.Layer):
            return self.step(step, args, kwargs)
        return step.operation(*args, **kwargs)

    def seen(self, operation, call, args, kwargs):
        """The same for a call that was intercepted."""
        if not concrete((args, kwargs)):
            return call(*args, **kwargs)
        return self.part(operation, *args, **kwargs)

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

    def draw(self, layer) -> tuple[int, bool]:
        """The number of a layer's weight draw, and whether it is new."""
        new = id(layer) not in self._draws
        number, _ = self._draws.setdefault(
            id(layer), (len(self._draws) + 1, layer)
        )
        return number, new

    def all_draws(self) -> frozenset:
        """The numbers of all weight draws until now."""
        return frozenset(number for number, _ in self._draws.values())
