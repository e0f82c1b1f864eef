"""Gradients of each example from one forward and one backward pass.

The backward pass gives the gradients by the outputs of all layers at once.
With what went into each layer they say everything about its weights.
"""

import keras
from keras import ops, tree

from tfdeep import backend
from tfdeep.graph.opening import CannotOpen, opened
from tfdeep.graph.program import Program, Step, as_started
from tfdeep.graph.trace import calls_between, ends, input_shape_of, symbols
from tfdeep.inside import is_graph
from tfdeep.masks import mask_of, with_mask
from tfdeep.privacy.per_example.batch import Batch
from tfdeep.privacy.per_example.gradients import Absent, Gradients, added
from tfdeep.privacy.per_example.loss import losses_of_rows
from tfdeep.privacy.per_example.mapped import MappedRule, maps_one_by_one
from tfdeep.privacy.per_example.mapping import way_of_mapping
from tfdeep.privacy.per_example.purity import pure_call
from tfdeep.privacy.per_example.replay import Replay, Ways, check_arguments
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
        starts, results = _ends_of(model)
        self.starts = tree.flatten(starts)
        calls = calls_between(starts, results)
        check_arguments(calls, model.name)
        ways = Ways(calls)
        self.rules = ways.rules
        self.program = Program(
            starts, results, calls, ways.opened, told=not is_graph(model)
        )
        self._check_whole()

    def _check_whole(self):
        """Raise unless all trainable weights are in the steps."""
        found = {id(v) for step in self._by_rule() for v in step.weights}
        if any(id(v) not in found for v in self.model.trainable_variables):
            raise CannotOpen(self.model.name)

    def _by_rule(self) -> list[Step]:
        """The steps that run by a rule."""
        return [s for s in self.program.steps if id(s.call) in self.rules]

    def describe(self) -> str:
        """A line for each call of a layer with weights: how it is clipped."""
        rows = [
            (
                step.path,
                type(step.operation).__name__,
                _way(self.rules[id(step.call)]),
            )
            for step in self._by_rule()
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
        used: list[tuple] = []

        def loss(tap):
            replay = Replay(self.rules, tap)
            with pure_call(model, trainable, state, self.seeds) as scope:
                inputs = as_started(self.starts, tree.flatten(x))
                outputs = self.program.run(inputs, True, replay)
            losses = losses_of_rows(self.owner, y, outputs, weight)
            ends = [
                scope.get_current_value(v)
                for v in model.non_trainable_variables
            ]
            used[:] = [(rule, count) for rule, _, count in replay.records]
            kept = [tensors for _, tensors, _ in replay.records]
            shown = outputs
            masks = tree.map_structure(mask_of, outputs)
            if views > 1:
                shown, masks = tree.map_structure(
                    lambda t: None if t is None else t[::views],
                    (outputs, masks),
                )
            return ops.sum(losses) / views, (shown, masks, losses, ends, kept)

        _, aux, grads = backend.tapped_gradients(loss)
        shown, masks, losses, ends, kept = aux
        shown = tree.map_structure(with_mask, shown, masks)
        with keras.StatelessScope(mapping):
            forms = _forms(used, kept, grads, views)
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


def _forms(used, kept, grads, views):
    """The forms of the gradients, by the identity of their variable."""
    found: dict[int, list] = {}
    waiting = iter(grads)
    for (rule, count), tensors in zip(used, kept, strict=True):
        mine = [next(waiting) for _ in range(count)]
        for variable, form in rule.forms(tensors, mine, views):
            found.setdefault(id(variable), []).append(form)
    return found


def _repeated(tensor, views):
    """A row for each view of an example."""
    if tensor is None or views == 1:
        return tensor
    return ops.repeat(tensor, views, axis=0)


def _way(rule) -> str:
    if not isinstance(rule, MappedRule):
        return rule.way
    way = way_of_mapping(maps_one_by_one(rule.layer))
    return f"layer by example, {way}"


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
