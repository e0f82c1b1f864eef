"""Gradients of each example from one forward and one backward pass.

The backward pass gives the gradients by the outputs of all layers at once.
With what went into each layer they say everything about its weights.
"""

import keras
from keras import ops, tree

from tfdeep import backend
from tfdeep.graph.opening import CannotOpen, opened
from tfdeep.graph.trace import calls_between, ends, input_shape_of, symbols
from tfdeep.inside import is_graph
from tfdeep.privacy.per_example.batch import Batch
from tfdeep.privacy.per_example.gradients import Absent, Gradients, added
from tfdeep.privacy.per_example.loss import losses_of_rows
from tfdeep.privacy.per_example.mapped import MappedRule, maps_one_by_one
from tfdeep.privacy.per_example.purity import pure_call
from tfdeep.privacy.per_example.replay import (
    Replay,
    as_started,
    check_arguments,
    steps_of,
)
from tfdeep.privacy.per_example.vectorized import seed_indices


class BookKeeping:
    """Runs a model on a batch as its steps, and keeps what passes through.

    Args:
        model: the built model to differentiate.
        owner: the compiled model whose loss is taken.

    Raises:
        CannotOpen: if the layers of the model cannot be told apart.
    """

    def __init__(self, model, owner):
        self.model = model
        self.owner = owner
        self.seeds = seed_indices(model)
        starts, self.results = _ends_of(model)
        self.training = True if is_graph(model) else None
        self.starts = tree.flatten(starts)
        calls = calls_between(starts, self.results)
        check_arguments(calls, model.name)
        self.steps = steps_of(calls)
        self._check_whole()

    def _check_whole(self):
        """Raise unless all trainable weights are in the steps."""
        found = {id(v) for step in every(self.steps) for v in _weights(step)}
        if any(id(v) not in found for v in self.model.trainable_variables):
            raise CannotOpen(self.model.name)

    def describe(self) -> str:
        """A line for each call of a layer with weights: how it is clipped."""
        rows = [
            (step.call.path, type(step.call.operation).__name__, _way(step))
            for step in every(self.steps)
        ]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        return "\n".join(
            "  ".join(
                text.ljust(width)
                for text, width in zip(row, widths, strict=True)
            ).rstrip()
            for row in rows
        )

    def run(self, trainable, state, x, y, weight, views: int = 1) -> Batch:
        """Differentiate the loss of each example; see `Vectorized.run`."""
        model = self.model
        mapping = [
            *zip(model.trainable_variables, trainable, strict=True),
            *zip(model.non_trainable_variables, state, strict=True),
        ]
        y, weight = (
            tree.map_structure(lambda t: _repeated(t, views), each)
            for each in (y, weight)
        )
        steps: list[tuple] = []

        def loss(tap):
            replay = Replay(tap)
            with pure_call(model, trainable, state, self.seeds) as scope:
                outputs = replay.run(
                    self.steps,
                    self.starts,
                    as_started(self.starts, tree.flatten(x)),
                    self.results,
                    self.training,
                )
            losses = losses_of_rows(self.owner, y, outputs, weight)
            ends = [
                scope.get_current_value(v)
                for v in model.non_trainable_variables
            ]
            steps[:] = [(step, count) for step, _, count in replay.records]
            kept = [tensors for _, tensors, _ in replay.records]
            shown = outputs
            if views > 1:
                shown = tree.map_structure(lambda t: t[::views], outputs)
            return ops.sum(losses) / views, (shown, losses, ends, kept)

        _, (shown, losses, ends, kept), grads = backend.tapped_gradients(loss)
        with keras.StatelessScope(mapping):
            forms = _forms(steps, kept, grads, views)
        losses = ops.mean(ops.reshape(losses, (-1, views)), axis=1)
        count = ops.shape(losses)[0]
        gradients = Gradients(
            [
                added(forms[id(v)])
                if id(v) in forms
                else Absent(v.shape, count)
                for v in model.trainable_variables
            ]
        )
        return Batch(gradients, shown, losses, ends)


def _forms(steps, kept, grads, views):
    """The forms of the gradients, by the identity of their variable."""
    found: dict[int, list] = {}
    waiting = iter(grads)
    for (step, count), tensors in zip(steps, kept, strict=True):
        mine = [next(waiting) for _ in range(count)]
        for variable, form in step.rule.forms(tensors, mine, views):
            found.setdefault(id(variable), []).append(form)
    return found


def _repeated(tensor, views):
    """A row for each view of an example."""
    if tensor is None or views == 1:
        return tensor
    return ops.repeat(tensor, views, axis=0)


def every(steps):
    """The steps, and those within them, that run by a rule."""
    for step in steps:
        if step.rule is not None:
            yield step
        yield from every(step.parts)


def _way(step) -> str:
    if not isinstance(step.rule, MappedRule):
        return step.rule.way
    if maps_one_by_one(step.call.operation):
        return "layer by example, one after the other"
    return "layer by example, vectorised"


def _weights(step):
    return step.call.operation.trainable_variables


def _ends_of(model):
    """Symbolic inputs and outputs of any model that has them."""
    if is_graph(model):
        return ends(model)
    shape = input_shape_of(model)
    if shape is None:
        raise CannotOpen(model.name)
    # It may be built for a batch of some size, and meets others.
    inputs = symbols(
        tree.map_shape_structure(lambda each: (None, *each[1:]), shape)
    )
    outputs = opened(model, (inputs,), {})
    known = [isinstance(t, keras.KerasTensor) for t in tree.flatten(outputs)]
    if not all(known):
        raise CannotOpen(model.name)
    return inputs, outputs
