"""A model whose layers that are made of layers are calls of their own.

What takes single layers, or puts others in their place, then meets them all.
"""

import contextlib
from collections.abc import Callable, Iterable
from typing import Any

import keras
from keras import tree

from tfdeep.graph.holders import around, is_holder, owned
from tfdeep.graph.insides import Insides
from tfdeep.graph.opening import Opened, is_symbol
from tfdeep.graph.rewrite import Edit, Edited, copy_frozen, freeze_whole
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
        self._base = ("", "")  # What a name begins with, and for which path.

    def name_of(self, call: Call) -> str:
        """The name of what a call becomes; within layers it is its path."""
        if not self.owners:
            return call.operation.name
        begin, path = self._base
        inner = call.path[len(path) :].partition("#")[0]
        return self.new_name((begin + inner).replace("/", "_").strip("_"))

    def new_name(self, name: str) -> str:
        """A name that nothing has, with a number where something has it."""
        found, number = name, 1
        while found in self.names:
            number += 1
            found = f"{name}_{number}"
        self.names.add(found)
        return found

    @contextlib.contextmanager
    def writing_out(self, call: Call):
        """Meanwhile the layer of a call is written out, where it was."""
        before = self._base
        if not self.owners:
            self._base = (call.operation.name, call.path)
        with self._owned_by(call):
            yield
        self._base = before

    @contextlib.contextmanager
    def model_of(self, call: Call, path: str):
        """Meanwhile what a layer holds becomes a model, with its own names.

        Args:
            call: that of the layer.
            path: the beginning of paths that names have no part of.
        """
        before = self.names, self._base
        self.names, self._base = set(), ("", path)
        with self._owned_by(call):
            yield
        self.names, self._base = before

    @contextlib.contextmanager
    def _owned_by(self, call: Call):
        self.owners.append(call)
        yield
        self.owners.pop()

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
    several times, or whose owner is, is one layer again. A layer that holds
    another one and decides when that runs, such as `StochasticDepth`, stays,
    around a model of what is edited.

    Args:
        wanted: function of a call, whether its layer is written out.
        edit: optional edit that is asked first about each call.
        twins: optional, those that the edit makes.
        insides: optional, what is within calls, where it is known already.
    """

    def __init__(
        self,
        wanted: Callable[[Call], bool],
        edit: Edit | None = None,
        twins: Twins | None = None,
        insides: Insides | None = None,
    ):
        self.wanted = wanted
        self.edit = edit
        self.twins = twins or Twins()
        self.insides = insides or Insides()
        self._trained = False  # Whether a layer is always told that it is.

    def __call__(self, call: Call, args: tuple, kwargs: dict):
        if self.edit is not None:
            edited = self.edit(call, args, kwargs)
            if edited is not None:
                return edited
        if id(call.operation) in self.twins.made:
            twin, _ = self.twins.made[id(call.operation)]
            return Edited(twin(*args, **kwargs))
        inside = self.insides.of(call) if self.wanted(call) else None
        if inside is None:
            return None
        if is_holder(call):
            return self._around(call, inside, args, kwargs)
        known = _known(inside.inputs, (args, kwargs))
        weights: list = []
        if not self.twins.owners:
            self._trained = call.kwargs.get("training") is True
        with self.twins.writing_out(call):
            self._replay(inside.calls, known, weights)
        return Edited([known[id(t)] for t in inside.outputs], weights)

    def _around(self, call: Call, inside: Opened, args, kwargs) -> Edited:
        """The layer of a call around a model of what it holds."""
        layer, (x,) = call.operation, inside.inputs
        held = layer.layer
        begin = keras.Input(batch_shape=x.shape, dtype=x.dtype)
        known, weights = {id(x): begin}, list[tuple]()
        path = inside.calls[0].path if is_graph(held) else call.path
        with self.twins.model_of(call, path):
            self._replay(inside.calls, known, weights)
        end = known[id(inside.outputs[0])]
        model = keras.Model(begin, end, name=held.name)
        if not getattr(held, "quantization_mode", None):
            model.dtype_policy = held.dtype_policy
        twin = around(layer, model, self.twins.name_of(call))
        self.twins.made[id(layer)] = (twin, layer)
        outputs = twin(*args, **kwargs)
        for old, new in ((held, model), (layer, twin)):
            if not old.trainable:
                freeze_whole(new)
        weights += zip(owned(twin), owned(layer), strict=True)
        return Edited(outputs, weights)

    def _replay(self, calls: list[Call], known: dict, weights: list) -> None:
        """Make calls on what is known, and know what they make."""
        for call in calls:
            args, kwargs = tree.map_structure(
                lambda each: known.get(id(each), each),
                (call.args, as_asked(call.kwargs, self._trained)),
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


def as_asked(kwargs: dict, trained: bool = False) -> dict:
    """The arguments of a call within a layer that was opened as if trained.

    What it is told of training there, a Functional model tells it by itself,
    unless the layer was always to be `trained`.
    """
    return {
        name: value
        for name, value in kwargs.items()
        if value is not None
        and (trained or name != "training" or value is not True)
    }
