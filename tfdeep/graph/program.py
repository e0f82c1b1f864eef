"""A model as the list of its steps: calls of layers, one after the other.

Nested models are written out, so that a list can be cut anywhere. Running
all steps is what the model does, in the order in which it can be done.
"""

import inspect
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
from keras import tree

from tfdeep.graph.trace import Call, ends


@dataclass(frozen=True, eq=False)
class Slot:
    """The place of a tensor.

    Args:
        dtype: of the tensor in the symbolic model.
    """

    dtype: str

    @property
    def moves(self) -> bool:
        """Whether a gradient may flow through it."""
        return "float" in self.dtype


@dataclass(eq=False)
class Step:
    """One call of a layer or operation.

    Args:
        path: that of the `Call`.
        operation: the layer or operation.
        args: positional arguments, with slots for tensors.
        kwargs: keyword arguments.
        outputs: the slots that it fills.
    """

    path: str
    operation: Any
    args: tuple
    kwargs: dict
    outputs: list[Slot]

    def __post_init__(self):
        # What Keras gives to every call within a Functional model.
        call = inspect.signature(self.operation.call).parameters
        self._knows_training = "training" in call

    @property
    def inputs(self) -> list[Slot]:
        """The slots that it reads."""
        found = tree.flatten((self.args, self.kwargs))
        return [each for each in found if isinstance(each, Slot)]

    @property
    def weights(self) -> list:
        """The trainable variables that it uses."""
        return list(getattr(self.operation, "trainable_variables", []))

    def arguments(self, values: dict[Slot, Any]) -> tuple[tuple, dict]:
        """Positional and keyword arguments, with the values of slots."""
        return tree.map_structure(
            lambda each: values[each] if isinstance(each, Slot) else each,
            (self.args, self.kwargs),
        )

    def run(self, values: dict[Slot, Any], training: bool) -> None:
        """Read the values of slots, and fill others."""
        args, kwargs = self.arguments(values)
        if self._knows_training:
            kwargs["training"] = training
        results = tree.flatten(self.operation(*args, **kwargs))
        values.update(zip(self.outputs, results, strict=True))


class Program:
    """The steps of a model.

    Args:
        inputs: the symbolic inputs of the model.
        outputs: its symbolic outputs.
        calls: the calls between them.

    Attributes:
        inputs: slots of the inputs, in the order of `keras.tree.flatten`.
        outputs: the structure of outputs, with slots.
        steps: the steps in order.
        slot_of: the slot of the first output of each call, by path.
        span: the numbers of the first and last step of each call, by path.
    """

    def __init__(self, inputs: Any, outputs: Any, calls: list[Call]):
        self.input_tensors = inputs
        self.steps: list[Step] = []
        self.slot_of: dict[str, Slot] = {}
        self.span: dict[str, tuple[int, int]] = {}
        flat = tree.flatten(inputs)
        self.inputs = [_slot(tensor) for tensor in flat]
        known = dict(zip(map(id, flat), self.inputs, strict=True))
        self._add(calls, known)
        self.outputs = tree.map_structure(lambda t: known[id(t)], outputs)

    def _add(self, calls: list[Call], known: dict[int, Slot]) -> None:
        for call in calls:
            first = len(self.steps)
            args, kwargs = tree.map_structure(
                lambda value: known.get(id(value), value),
                (call.args, call.kwargs),
            )
            slots = self._opened(call, args) if call.parts else None
            if slots is None:
                slots = [_slot(tensor) for tensor in call.outputs]
                self.steps.append(
                    Step(call.path, call.operation, args, kwargs, slots)
                )
            known.update(zip(map(id, call.outputs), slots, strict=True))
            self.slot_of[call.path] = slots[0]
            self.span[call.path] = first, len(self.steps) - 1

    def _opened(self, call: Call, args: tuple) -> list[Slot] | None:
        """Add the steps of a nested model; `None` if it stays one step."""
        inputs, outputs = ends(call.operation)
        inner, given = tree.flatten(inputs), tree.flatten(args)
        if len(inner) != len(given):
            return None
        known = dict(zip(map(id, inner), given, strict=True))
        self._add(call.parts, known)
        return [known[id(tensor)] for tensor in tree.flatten(outputs)]

    def crossing(self, cut: int) -> list[Slot]:
        """What is made before a step, read by it or later, and moves."""
        later = [slot for step in self.steps[cut:] for slot in step.inputs]
        wanted = {*later, *tree.flatten(self.outputs)}
        made = [s for step in self.steps[:cut] for s in step.outputs]
        return [slot for slot in made if slot in wanted and slot.moves]

    def behind(self, slots: Iterable[Slot]) -> set[int]:
        """The numbers of all steps that some slots depend on."""
        wanted, found = set(slots), set()
        for number in reversed(range(len(self.steps))):
            step = self.steps[number]
            if not wanted.isdisjoint(step.outputs):
                found.add(number)
                wanted.update(step.inputs)
        return found


def _slot(tensor: keras.KerasTensor) -> Slot:
    return Slot(str(tensor.dtype))


def run_steps(
    steps: Sequence[Step], values: dict[Slot, Any], training: bool
) -> None:
    """Run steps one after the other."""
    for step in steps:
        step.run(values, training)
