"""A model whose layers that are made of layers are calls of their own.

What takes single layers, or puts others in their place, then meets them all.
"""

from collections.abc import Callable, Iterable
from typing import Any

import keras
from keras import tree

from tfdeep.graph.opening import (
    CannotOpen,
    Opened,
    is_composite,
    is_symbol,
    open_call,
)
from tfdeep.graph.rewrite import Edit, Edited, copy_frozen
from tfdeep.graph.trace import Call, ends
from tfdeep.graph.twins import twin_of
from tfdeep.inside import is_graph


class Twins:
    """New layers in the place of layers, one for each.

    Args:
        names: those of the layers and operations of the model.

    Attributes:
        made: the twins, with their layers, by the `id` of these.
        owners: the calls whose layers are written out now, the outermost one
            first.
    """

    def __init__(self, names: Iterable[str] = ()):
        self.names = set(names)
        self.made: dict[int, tuple] = {}
        self.owners: list[Call] = []

    def name_of(self, call: Call) -> str:
        """The name of what a call becomes; within layers it is its path."""
        if not self.owners:
            return call.operation.name
        owner = self.owners[0]
        inner = call.path[len(owner.path) :].partition("#")[0]
        return self.new_name((owner.operation.name + inner).replace("/", "_"))

    def new_name(self, name: str) -> str:
        """A name that nothing has, with a number where something has it."""
        found, number = name, 1
        while found in self.names:
            number += 1
            found = f"{name}_{number}"
        self.names.add(found)
        return found

    def called(
        self, call: Call, args: tuple, kwargs: dict, **changes
    ) -> Edited:
        """The call of a twin.

        Args:
            call: the call of the layer or operation.
            args: the new positional arguments.
            kwargs: the new keyword arguments.
            **changes: of the configuration, when it is made.
        """
        operation = call.operation
        if id(operation) not in self.made:
            twin = twin_of(operation, name=self.name_of(call), **changes)
            self.made[id(operation)] = (twin, operation)
        twin, _ = self.made[id(operation)]
        outputs = twin(*args, **kwargs)
        if not isinstance(operation, keras.layers.Layer):
            return Edited(outputs)
        copy_frozen(operation, twin)
        pairs = zip(twin.variables, operation.variables, strict=True)
        return Edited(outputs, list(pairs))


class WriteOut:
    """An edit for `rewrite` that writes out layers, and edits what is inside.

    A call that the given edit leaves as it is, and that is wanted, is replaced
    by the calls within its layer, at any depth. A layer inside that is called
    several times, or whose owner is, is one layer again.

    Args:
        wanted: function of a call, whether its layer is written out.
        edit: optional edit that is asked first about each call.
        twins: optional, those that the edit makes.
    """

    def __init__(
        self,
        wanted: Callable[[Call], bool],
        edit: Edit | None = None,
        twins: Twins | None = None,
    ):
        self.wanted = wanted
        self.edit = edit
        self.twins = twins or Twins()

    def __call__(self, call: Call, args: tuple, kwargs: dict):
        if self.edit is not None:
            edited = self.edit(call, args, kwargs)
            if edited is not None:
                return edited
        inside = self._inside(call)
        if inside is None:
            return None
        known = _known(inside.inputs, (args, kwargs))
        weights: list = []
        self.twins.owners.append(call)
        self._replay(inside.calls, known, weights)
        self.twins.owners.pop()
        return Edited([known[id(t)] for t in inside.outputs], weights)

    def _inside(self, call: Call) -> Opened | None:
        """What is within the call of a layer; `None` if it stays closed."""
        if not (is_composite(call.operation) and self.wanted(call)):
            return None
        try:
            inside = open_call(call)
        except CannotOpen:
            return None
        masked = any(map(is_symbol, [*inside.worn, *inside.masks]))
        return None if masked else inside

    def _replay(self, calls: list[Call], known: dict, weights: list) -> None:
        """Make calls on what is known, and know what they make."""
        for call in calls:
            args, kwargs = tree.map_structure(
                lambda each: known.get(id(each), each),
                (call.args, as_asked(call.kwargs)),
            )
            results = self._results(call, args, kwargs, weights)
            known.update(zip(map(id, call.outputs), results, strict=True))

    def _results(self, call, args, kwargs, weights: list) -> list:
        if is_graph(call.operation):
            starts, results = map(tree.flatten, ends(call.operation))
            known = _known(starts, (args, kwargs))
            self._replay(call.parts, known, weights)
            return [known[id(tensor)] for tensor in results]
        edited = self(call, args, kwargs)
        if edited is None:
            edited = self.twins.called(call, args, kwargs)
        if isinstance(edited, Edited):
            weights.extend(edited.weights)
            edited = edited.outputs
        return tree.flatten(edited)


def _known(inputs: list, given: Any) -> dict:
    """What stands for the inputs of something that is written out."""
    found = [each for each in tree.flatten(given) if is_symbol(each)]
    return dict(zip(map(id, inputs), found, strict=True))


def as_asked(kwargs: dict) -> dict:
    """The arguments of a call within a layer that was opened as if trained.

    What it is told of training there, a Functional model tells it by itself.
    """
    return {
        name: value
        for name, value in kwargs.items()
        if value is not None and not (name == "training" and value is True)
    }
