"""A model run in stages, between which gradients stop or are handed over.

The steps of a model are cut at some places. What one stage hands to the next
passes a `stop_gradient`. A loss above that should reach the stage below gives
its gradient by what was handed over, C; the stage below then gets

    <C, x> - stop_gradient(<C, x>),

which is 0 and whose gradient by x is C. Per cut this costs one more backward
pass through the layers between the cut and the loss, by activations alone:
gradients of weights are computed once, for all losses together.
"""

from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import keras
from keras import ops, tree

from tfdeep import backend
from tfdeep.graph.program import Program, Slot, run_steps
from tfdeep.layers.entropy import collected_entropies
from tfdeep.masks import mask_of, with_mask


@dataclass(frozen=True)
class Division:
    """Where a model is cut, and which losses pass a cut.

    Args:
        cuts: numbers of the steps before which gradients stop, ascending.
        losses: for every loss on a hidden layer the path of that layer, the
            number of the first step that it reaches, and of the last.
    """

    cuts: tuple[int, ...]
    losses: tuple[tuple[str, int, int], ...]

    def passing(self, cut: int, stage: int) -> tuple[list[str], bool] | None:
        """What comes down through a stage to pass a cut.

        Args:
            cut: index of the cut.
            stage: index of the stage, from that cut on upwards.

        Returns:
            The paths of the losses that start in the stage, and whether
            there are some above it; `None` if there are none at all.
        """
        low, here, *higher = (self.cuts[cut], *self.cuts[stage:])
        losses = [
            (path, bool(higher) and last >= higher[0])
            for path, first, last in self.losses
            if first < low and last >= here
        ]
        if not losses:
            return None
        own = [path for path, above in losses if not above]
        return own, any(above for _, above in losses)


@dataclass
class Handover:
    """What one forward pass leaves for the losses.

    Args:
        below: for each cut the tensors as the stage below made them.
        pulls: for each cut and stage above it the pullback through the stage
            and the taps whose losses it starts from.
    """

    below: list[list[Any]] = field(default_factory=list)
    pulls: list[dict[int, Any]] = field(default_factory=list)

    @property
    def passing(self) -> set[str]:
        """The taps whose losses pass a cut."""
        return {
            path
            for pulls in self.pulls
            for _, taps in pulls.values()
            for path in taps
        }

    def surrogate(self, gradients: dict[str, Any]):
        """The term of value 0 whose gradient is what passes the cuts.

        Args:
            gradients: of each loss by the output of its layer, in float32.
        """
        total = ops.zeros((), "float32")
        for below, pulls in zip(self.below, self.pulls, strict=True):
            if pulls:
                passing = _pulled_down(pulls, gradients)
                total = total + sum(map(_handed, below, passing))
        return total


def _pulled_down(pulls: dict[int, Any], gradients: dict[str, Any]) -> list:
    """The gradient by what is handed over at a cut, in float32."""
    own = {path for _, taps in pulls.values() for path in taps}
    scale = _scale([gradients[path] for path in sorted(own)])
    carried: list = []
    for stage in sorted(pulls, reverse=True):
        pull, taps = pulls[stage]
        starting = [
            ops.cast(gradients[path] * scale, dtype)
            for path, dtype in taps.items()
        ]
        carried = pull([*carried, *starting])
    return [ops.cast(gradient, "float32") / scale for gradient in carried]


def _scale(gradients: list):
    """What makes the largest entry 1: half precision has few small ones."""
    largest = ops.max(ops.stack([ops.max(ops.abs(g)) for g in gradients]))
    return ops.where(largest > 0, 1 / largest, ops.ones_like(largest))


@ops.custom_gradient
def _handed(tensor, passing):
    """0, whose gradient by the tensor is `passing`, be it finite or not."""

    def gradient(*args, upstream=None):
        upstream = args[0] if upstream is None else upstream
        handed = ops.cast(upstream * passing, tensor.dtype)
        return handed, ops.zeros_like(passing)

    return ops.zeros((), "float32"), gradient


class Stages:
    """Runs the steps of a model, with gradients stopped at cuts.

    Args:
        model: the model, which owns all variables.
        program: its steps.
        division: where to cut, and what passes.
        taps: the paths of the layers whose output is wanted.
    """

    def __init__(
        self,
        model: keras.Model,
        program: Program,
        division: Division,
        taps: Iterable[str],
    ):
        self.model = model
        self.program = program
        self.division = division
        self.taps = {path: program.slot_of[path] for path in taps}
        tensors = program.input_tensors
        self.prepare_inputs = keras.Model(tensors, tensors)

    def run(self, inputs, training: bool):
        """Return outputs, taps by path, and the `Handover`."""
        cuts, handover = self.division.cuts, Handover()
        ready = tree.flatten(self.prepare_inputs(inputs))
        values = dict(zip(self.program.inputs, ready, strict=True))
        run_steps(self.program.steps[: cuts[0]], values, training)
        taps = self._seen(values, {})
        for stage in range(len(cuts)):
            values = self._run_stage(stage, values, handover, training)
            taps = self._seen(values, taps)
        outputs = tree.map_structure(values.__getitem__, self.program.outputs)
        return outputs, taps, handover

    def _seen(self, values: dict, taps: dict) -> dict:
        """Add taps that are new: a tap is what its own stage made."""
        new = {p: values[s] for p, s in self.taps.items() if s in values}
        return {**new, **taps}

    def _run_stage(self, stage: int, values: dict, handover, training: bool):
        """Stop gradients, and run the steps from a cut to the next."""
        bounds = [*self.division.cuts, len(self.program.steps)]
        start, stop = bounds[stage : stage + 2]
        entering = self.program.crossing(start)
        handover.below.append([values[slot] for slot in entering])
        handover.pulls.append({})
        stopped = {slot: _stopped(values[slot]) for slot in entering}
        values = {**values, **stopped}
        plans, wanted, selections = self._plans(stage)
        runs: list[dict] = []

        def function(tensors):
            found = dict(values)
            for slot, tensor in zip(entering, tensors, strict=True):
                found[slot] = with_mask(tensor, mask_of(values[slot]))
            # What is run once more is none of the model's business.
            with collected_entropies() if runs else nullcontext():
                run_steps(self.program.steps[start:stop], found, training)
            runs.append(found)
            return [found[slot] for slot in wanted]

        tensors = list(stopped.values())
        _, pulls = backend.pullbacks(self.model, function, tensors, selections)
        for (cut, own), pull in zip(plans.items(), pulls, strict=True):
            dtypes = {path: runs[0][self.taps[path]].dtype for path in own}
            handover.pulls[cut][stage] = pull, dtypes
        return runs[0]

    def _plans(self, stage: int) -> tuple[dict, list[Slot], list[list[int]]]:
        """Which gradients are pulled down through a stage.

        Returns:
            The taps that each of them starts from, by the cut it goes to;
            the tensors that all of them need; for each gradient the indices
            of its own among these.
        """
        higher = self.division.cuts[stage + 1 : stage + 2]
        leaving = self.program.crossing(higher[0]) if higher else []
        plans = {
            cut: plan
            for cut in range(stage + 1)
            if (plan := self.division.passing(cut, stage))
        }
        paths = sorted({path for own, _ in plans.values() for path in own})
        count = len(leaving)
        selections = [
            [
                *(range(count) if above else ()),
                *(count + paths.index(path) for path in own),
            ]
            for own, above in plans.values()
        ]
        wanted = [*leaving, *(self.taps[path] for path in paths)]
        return {c: own for c, (own, _) in plans.items()}, wanted, selections


def _stopped(tensor):
    return with_mask(ops.stop_gradient(tensor), mask_of(tensor))
