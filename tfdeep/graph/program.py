"""A model as the list of its steps: calls of layers, one after the other.

Nested models are written out, so that a list can be cut anywhere, and so are
layers that were opened. Running all steps is what the model does, in the order
in which it can be done; a handler may run each in its own way.
"""

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
from keras import ops, tree

from tfdeep.graph.opening import Opened, is_symbol
from tfdeep.graph.trace import Call, ends
from tfdeep.masks import mask_of, with_mask, without_masks


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
        operation: the layer or operation; a function where masks are handed
            into a layer that was opened, or out of it.
        args: positional arguments, with slots for tensors.
        kwargs: keyword arguments.
        outputs: the slots that it fills.
        call: the `Call`, if it is one.
        told: whether the arguments say if the layer is trained; else the run
            does.
    """

    path: str
    operation: Any
    args: tuple
    kwargs: dict
    outputs: list[Slot]
    call: Call | None = None
    told: bool = False

    def __post_init__(self):
        self._asks = not self.told and takes(self.operation, "training")

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

    def run(
        self,
        values: dict[Slot, Any],
        training: bool,
        handler: Callable | None = None,
    ) -> None:
        """Read the values of slots, and fill others; see `run_steps`."""
        args, kwargs = self.arguments(values)
        if self._asks:
            # What Keras gives to every call within a Functional model.
            kwargs["training"] = training
        if handler is None or self.call is None:
            results = self.operation(*args, **kwargs)
        else:
            results = handler(self, args, kwargs)
        results = tree.flatten(results)
        values.update(zip(self.outputs, results, strict=True))


def takes(operation: Any, argument: str) -> bool:
    """Whether the call of a layer or operation has an argument."""
    call = getattr(operation, "call", operation)
    return argument in inspect.signature(call).parameters


class Program:
    """The steps of a model.

    Args:
        inputs: the symbolic inputs of the model.
        outputs: its symbolic outputs.
        calls: the calls between them.
        opened: optional, what is inside layers that are written out, by the
            `id` of their calls.
        told: boolean, whether the layers have been told if they are trained
            when they were called, as those of a hand-written model have.

    Attributes:
        inputs: slots of the inputs, in the order of `keras.tree.flatten`.
        outputs: the structure of outputs, with slots.
        steps: the steps in order.
        slot_of: the slot of the first output of each call, by path.
        span: the numbers of the first and last step of each call, by path.
    """

    def __init__(
        self,
        inputs: Any,
        outputs: Any,
        calls: list[Call],
        opened: Mapping[int, Opened] | None = None,
        told: bool = False,
    ):
        self.input_tensors = inputs
        self.steps: list[Step] = []
        self.slot_of: dict[str, Slot] = {}
        self.span: dict[str, tuple[int, int]] = {}
        self._opened = opened or {}
        flat = tree.flatten(inputs)
        self.inputs = [_slot(tensor) for tensor in flat]
        known = dict(zip(map(id, flat), self.inputs, strict=True))
        self._add(calls, known, told)
        self.outputs = tree.map_structure(lambda t: known[id(t)], outputs)

    def _add(
        self,
        calls: list[Call],
        known: dict[int, Slot],
        told: bool,
        training: bool | None = None,
    ) -> None:
        """Add the steps of calls.

        Args:
            calls: the calls.
            known: the slots of symbolic tensors, by their `id`.
            told: whether their arguments say if they are trained.
            training: what they are told in place of the run.
        """
        for call in calls:
            first = len(self.steps)
            args, kwargs = tree.map_structure(
                lambda value: _given(value, known), (call.args, call.kwargs)
            )
            if training is not None and takes(call.operation, "training"):
                kwargs["training"] = training
            slots = self._parts(call, args, kwargs, known, told)
            if slots is None:
                slots = [_slot(tensor) for tensor in call.outputs]
                self.steps.append(
                    Step(
                        call.path,
                        call.operation,
                        args,
                        kwargs,
                        slots,
                        call,
                        told,
                    )
                )
            known.update(zip(map(id, call.outputs), slots, strict=True))
            self.slot_of[call.path] = slots[0]
            self.span[call.path] = first, len(self.steps) - 1

    def _parts(self, call: Call, args, kwargs, known, told):
        """Add the steps within a call; `None` if it stays one step."""
        if id(call) in self._opened:
            return self._layer(call, args, known)
        inputs, outputs = ends(call.operation) if call.parts else ([], [])
        inner, given = tree.flatten(inputs), tree.flatten(args)
        if not call.parts or len(inner) != len(given):
            return None
        within = dict(zip(map(id, inner), given, strict=True))
        # A model tells its layers what it has been told.
        training = kwargs.get("training", True) if told else None
        self._add(call.parts, within, told, training)
        return [within[id(tensor)] for tensor in tree.flatten(outputs)]

    def _layer(self, call: Call, args, known) -> list[Slot]:
        """Add the steps within a layer that was opened."""
        inside = self._opened[id(call)]
        given = [known.get(id(tensor)) for tensor in call.inputs]
        within = dict(zip(map(id, inside.inputs), given, strict=True))
        self._take_masks(call, inside, given, within)
        self._add(inside.calls, within, True)
        outputs = [within[id(tensor)] for tensor in inside.outputs]
        masks = [within.get(id(mask)) for mask in inside.masks]
        layer = call.operation
        if not layer.supports_masking and not any(masks):
            return outputs
        slots = [_slot(tensor) for tensor in inside.outputs]
        self.steps.append(
            Step(
                call.path,
                lambda *args: masked_as_called(layer, *args),
                (args[:1], outputs, masks),
                {},
                slots,
            )
        )
        return slots

    def _take_masks(self, call: Call, inside: Opened, given, within) -> None:
        """Hand the masks of inputs into a layer that was opened.

        It takes them off where it did so with its symbols.
        """
        bare = []
        for symbol, mask, slot in zip(
            inside.inputs, inside.worn, given, strict=True
        ):
            if is_symbol(mask):
                made = within[id(mask)] = _slot(mask)
                self.steps.append(Step(call.path, mask_of, (slot,), {}, [made]))
                if mask_of(symbol) is None:
                    bare.append(slot)
        if bare:
            args = tuple(bare)
            self.steps.append(Step(call.path, without_masks, args, {}, []))

    def run(
        self,
        inputs: list,
        training: bool,
        handler: Callable | None = None,
    ) -> Any:
        """The outputs for inputs, in the order of `.inputs`; see `run_steps`."""
        values = dict(zip(self.inputs, inputs, strict=True))
        run_steps(self.steps, values, training, handler)
        return tree.map_structure(values.__getitem__, self.outputs)

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


def _given(value: Any, known: dict[int, Slot]) -> Any:
    """The slot of a symbol; `None` for a mask, which comes by itself."""
    if is_symbol(value):
        return known.get(id(value))
    return value


def masked_as_called(layer, args: tuple, outputs: list, masks: list) -> list:
    """Outputs with the masks that Keras attaches when a layer is called."""
    if layer.supports_masking and args and any(each is None for each in masks):
        before = tree.map_structure(mask_of, args[0])
        found = tree.flatten(layer.compute_mask(args[0], before))
        found += [None] * (len(masks) - len(found))
        masks = [
            new if old is None else old
            for old, new in zip(masks, found, strict=True)
        ]
    return [
        with_mask(output, mask)
        for output, mask in zip(outputs, masks, strict=True)
    ]


def run_steps(
    steps: Sequence[Step],
    values: dict[Slot, Any],
    training: bool,
    handler: Callable | None = None,
) -> None:
    """Run steps one after the other.

    Args:
        steps: the steps.
        values: those of slots, which are read and added to.
        training: boolean, what layers are told that have not been.
        handler: optional `handler(step, args, kwargs)`, which returns the
            outputs of a call in place of the layer.
    """
    for step in steps:
        step.run(values, training, handler)


def as_started(symbols: list, tensors: list) -> list:
    """Inputs as a Functional model takes them: their dtype, their rank."""
    found = []
    for symbol, tensor in zip(symbols, tensors, strict=True):
        if keras.backend.standardize_dtype(tensor.dtype) != symbol.dtype:
            tensor = ops.cast(tensor, symbol.dtype)
        if len(tensor.shape) == len(symbol.shape) - 1:
            tensor = ops.expand_dims(tensor, -1)
        found.append(tensor)
    return found
