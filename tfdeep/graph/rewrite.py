"""Another model made from the calls of a model, with its weights.

The calls are made once more on new symbolic tensors, each with a twin of its
layer. An edit may give other outputs for some of them. What the model had is
handed over: weights and random streams, names, frozen parts, and how it is
compiled, with what the optimizer keeps.
"""

import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
from keras import ops, tree

from tfdeep.graph.compiled import compile_like
from tfdeep.graph.sections import Section, Sections
from tfdeep.graph.slots import Source
from tfdeep.graph.trace import Call, Graph, calls_between, ends, graph_of
from tfdeep.graph.twins import STEPS, new_input, of_class, other_shapes, twin_of
from tfdeep.inside import is_graph, own_methods
from tfdeep.keras_internals import layers_of

OPTIMIZER = ("keep", "new")


@dataclass(eq=False)
class Edited:
    """What an edit makes of a call.

    Args:
        outputs: symbolic tensors, in the place of the outputs of the call.
        weights: pairs `(new, old)` that say where the value of a new weight
            comes from. `old` is a weight of the same shape; or a pair of one
            and a tuple that says what is kept on each axis: a list of indices,
            `None` for all, or a number, without the axis then; or a list of
            weights that are stacked along a new first axis. Those that are
            not named begin as they would.
    """

    outputs: Any
    weights: list = field(default_factory=list)


@dataclass(eq=False)
class Instead:
    """What an edit returns to call another layer of the given model.

    Args:
        operation: the layer. It is called with the arguments of the call; a
            model is written out, its calls stand where the call was.
    """

    operation: Any


Edit = Callable[[Call, tuple, dict], Any]


def rewrite(
    model: keras.Model | Graph,
    edit: Edit | None = None,
    *,
    sections: Iterable[Section] = (),
    optimizer: str = "keep",
) -> keras.Model:
    """A new model with other calls in the place of some.

    Without an edit it is the same model again, that trains on as the given one
    would: its weights, random streams, frozen parts, names and compilation,
    with what the optimizer keeps for each weight. The given model stays as it
    is.

    Args:
        model: a built Functional or Sequential model; models inside it are
            rewritten, too. A hand-written one becomes a Functional model, as
            does one whose class has another constructor. Or the graph of a
            model, which has the tensors of `sections`.
        edit: optional function `edit(call, args, kwargs)`: a
            `tfdeep.graph.Call` of the model, and the arguments of the new
            call, with symbolic tensors. It returns new outputs, an `Edited`,
            an `Instead`, or `None` to leave the call as it is. It is not
            asked about calls of models, but about those within them.
        sections: the calls that become one, each as a `Section`. They may be
            within one another, and within nested models.
        optimizer: `"keep"` or `"new"`: what a compiled model's optimizer
            keeps for a weight follows it, cut as it was cut; or it starts
            from zero. Where it cannot follow, a warning names the weights.

    Returns:
        A new model, compiled if the model is.

    Raises:
        TypeError: if `model` is no `keras.Model`, or of a class that has a
            step of its own and is not made from inputs and outputs.
        ValueError: if its calls cannot be told, it uses weights of its own
            outside of layers, a layer has no configuration or was changed by
            hand, or it is too deep for Keras.

    Example:
        >>> import keras, tfdeep
        >>> model = keras.Sequential([keras.Input((4,))])
        >>> model.add(keras.layers.Dense(3, name="low"))
        >>> model.add(keras.layers.ReLU(name="relu"))
        >>> def smooth(call, args, kwargs):
        ...     if isinstance(call.operation, keras.layers.ReLU):
        ...         return keras.layers.Activation("gelu", name="gelu")(*args)
        >>> new = tfdeep.graph.rewrite(model, smooth)
        >>> [layer.name for layer in new.layers]
        ['low', 'gelu']
    """
    if optimizer not in OPTIMIZER:
        raise ValueError(
            f"`optimizer` must be one of {OPTIMIZER}. Received: "
            f"optimizer={optimizer!r}"
        )
    graph = model if isinstance(model, Graph) else graph_of(model)
    model = graph.model
    _check_own(model, graph.read)
    writer = _Writer(edit, sections)
    kinds = {type(part).__name__: type(part) for part in layers_of(model)}
    try:
        # A user's own classes need not be registered.
        with keras.saving.custom_object_scope(kinds):
            result = writer.model(model, graph.inputs, graph.outputs)
    except RecursionError as error:
        raise ValueError(
            f"`model` must not have more layers than Keras walks through, "
            "which it does by recursion: raise the limit with "
            f"sys.setrecursionlimit. Received: model={model.name!r}"
        ) from error
    sources = writer.hand_over()
    if getattr(model, "compiled", False):
        restarted = compile_like(model, result, sources, optimizer == "keep")
        if restarted:
            warnings.warn(
                f"The optimizer starts from zero for {', '.join(restarted)}: what "
                "it keeps for them must have the shape of the weight to "
                "follow it.",
                stacklevel=2,
            )
    return result


def _check_own(model: keras.Model, read: list) -> None:
    """Raise for what no graph of calls can hold."""
    if read:
        names = ", ".join(variable.path for variable in read)
        raise ValueError(
            "`model` must use its weights within layers, where a new model "
            f"has them again. Received: model={model.name!r}, which uses "
            f"{names} by itself"
        )
    own = own_methods(model, *STEPS)
    if own and (not is_graph(model) or isinstance(model, keras.Sequential)):
        raise ValueError(
            "`model` must be made from inputs and outputs where it has a step "
            "of its own, so that the new one has it, too. Received: "
            f"model={model.name!r}, which defines {', '.join(own)}"
        )


class _Writer:
    """One run of `rewrite`.

    Args:
        edit: as of `rewrite`.
        sections: as of `rewrite`.
    """

    def __init__(self, edit: Edit | None, sections: Iterable[Section]):
        self.edit = edit
        self.sections = Sections(sections)
        self.twins: dict[int, tuple] = {}  # (operation, twin) by its id.
        self.models: list[tuple] = []  # Models and what became of them.
        self.given: dict[int, tuple] = {}  # Of `Edited.weights`, by new id.
        self.parts: dict[Any, keras.Model] = {}  # Of sections, by their form.

    def model(
        self,
        model: keras.Model,
        inputs: Any,
        outputs: Any,
        prefix: str = "",
        shapes: dict[int, tuple] | None = None,
    ):
        """A new model with the calls between inputs and outputs.

        `shapes` has those of the new inputs by the `id` of the old ones.
        """
        shapes = shapes or {}
        begun = tree.map_structure(
            lambda tensor: new_input(tensor, shapes.get(id(tensor))), inputs
        )
        ended = self._again(inputs, outputs, begun, prefix)
        result = of_class(model, begun, ended)
        self.models.append((model, result))
        return result

    def _again(self, inputs: Any, outputs: Any, given: Any, prefix: str = ""):
        """What the calls between inputs and outputs make of other inputs."""
        pairs = zip(tree.flatten(inputs), tree.flatten(given), strict=True)
        known = {id(tensor): value for tensor, value in pairs}
        self._write(calls_between(inputs, outputs, prefix), known)
        return tree.map_structure(lambda tensor: known[id(tensor)], outputs)

    def _write(self, calls: list[Call], known: dict[int, Any]) -> None:
        """Make calls again; `known` has what became of each tensor."""
        for call in calls:
            section = self.sections.around(call)
            if section is None:
                self._write_call(call, known)
            elif any(section.end is each for each in call.outputs):
                known[id(section.end)] = self._folded(section, known)
            for each in call.outputs:
                layer = self.sections.layer_behind(each)
                if layer is not None and id(each) in known:
                    known[id(each)] = layer(known[id(each)])

    def _write_call(self, call: Call, known: dict[int, Any]) -> None:
        args, kwargs = tree.map_structure(
            lambda value: known.get(id(value), value),
            (call.args, call.kwargs),
        )
        results = tree.flatten(self._made(call, args, kwargs))
        if len(results) != len(call.outputs):
            raise ValueError(
                f"`edit` must return {len(call.outputs)} outputs of the "
                f"call {call.path!r}. Received: {len(results)}"
            )
        known.update(zip(map(id, call.outputs), results, strict=True))

    def _folded(self, section: Section, known: dict[int, Any]):
        """What a section's layer makes of the tensor at its beginning."""
        form = self.sections.form(section)
        model = self.parts.get(form)
        if model is None:
            begin = keras.Input(
                batch_shape=section.begin.shape, dtype=section.begin.dtype
            )
            with self.sections.open(section):
                end = self._again(section.begin, section.end, begin)
            model = self.parts[form] = keras.Model(begin, end)
        return section.make(model)(known[id(section.begin)])

    def _made(self, call: Call, args: tuple, kwargs: dict):
        operation = call.operation
        if is_graph(operation):
            return self._twin_model(call, args)(*args, **kwargs)
        if self.edit is not None:
            edited = self.edit(call, args, kwargs)
            if isinstance(edited, Edited):
                for weight, source in edited.weights:
                    self.given[id(weight)] = (weight, source)
                edited = edited.outputs
            if isinstance(edited, Instead):
                if is_graph(edited.operation):
                    return self._again(*ends(edited.operation), args)
                return self._twin(edited.operation)(*args, **kwargs)
            if edited is not None:
                return edited
        return self._twin(operation)(*args, **kwargs)

    def _twin_model(self, call: Call, args: tuple):
        model = call.operation
        if id(model) not in self.twins:
            inputs = tree.flatten(ends(model)[0])
            shapes = other_shapes(inputs, call.args, args)
            twin = self.model(
                model, *ends(model), prefix=f"{call.path}/", shapes=shapes
            )
            self.twins[id(model)] = (None, twin)
        return self.twins[id(model)][1]

    def _twin(self, operation):
        if id(operation) not in self.twins:
            self.twins[id(operation)] = (operation, twin_of(operation))
        return self.twins[id(operation)][1]

    def hand_over(self) -> dict[int, Source]:
        """Give all weights their values; return where they come from."""
        sources: dict[int, Source] = {}
        for old, new in self.twins.values():
            if isinstance(old, keras.Layer):
                copy_frozen(old, new)
                sources.update(_pairs(old, new))
        for weight, source in self.given.values():
            sources[id(weight)] = _source(weight, source)
        variables = {
            id(variable): variable
            for _, result in self.models
            for variable in result.variables
        }
        for key, source in sources.items():
            target = variables.get(key)
            if target is not None:
                values = [each.value for each in source.weights]
                target.assign(source.value(values))
        for model, result in self.models:
            result.dtype_policy = model.dtype_policy
            if not model.trainable:
                freeze_whole(result)
        return sources


def _pairs(old, new) -> dict[int, Source]:
    """Where the weights and random streams of a twin come from."""
    found = [tuple(v.shape) for v in old.variables]
    wanted = [tuple(v.shape) for v in new.variables]
    if found != wanted:
        raise ValueError(
            "Each layer must have the weights that its configuration gives "
            "it on its inputs; convert before changing it by hand, make a "
            "layer class of the change, and let an edit keep the shapes that "
            f"others take. Received: {old.name!r} with weights of shapes "
            f"{found}, in place of {wanted}"
        )
    pairs = zip(old.variables, new.variables, strict=True)
    return {id(target): Source((source,)) for source, target in pairs}


def _source(weight, given) -> Source:
    """What an edit says of a new weight, checked."""
    if isinstance(given, list):
        source = Source(tuple(given), lambda *values: ops.stack(values))
        shape: tuple = (len(given), *given[0].shape)
        path = f"{len(given)} weights such as {given[0].path!r}"
    elif isinstance(given, tuple):
        old, kept = given
        source = Source((old,), lambda value: _cut(value, kept))
        shape = tuple(
            size if indices is None else len(indices)
            for size, indices in zip(old.shape, kept, strict=True)
            if not isinstance(indices, int)
        )
        path = repr(old.path)
    else:
        source, shape, path = Source((given,)), given.shape, repr(given.path)
    if tuple(shape) != tuple(weight.shape):
        raise ValueError(
            f"`Edited.weights` must give {weight.path!r} a value of shape "
            f"{tuple(weight.shape)}. Received: {path}, which gives one of "
            f"shape {tuple(shape)}"
        )
    return source


def _cut(value, kept: tuple):
    """What is kept of a value on each axis."""
    if kept and isinstance(kept[0], int):  # Of a large stack a small part.
        return _cut(value[kept[0]], kept[1:])
    if all(indices is None for indices in kept):
        return ops.copy(value)
    array = ops.convert_to_numpy(value)
    for axis, indices in reversed(list(enumerate(kept))):
        if indices is not None:
            array = np.take(array, np.asarray(indices, int), axis)
    return ops.convert_to_tensor(array, dtype=value.dtype)


def copy_frozen(old: keras.Layer, new: keras.Layer) -> None:
    """Freeze what is frozen of a layer, however its parts were made."""
    parts = layers_of(old), layers_of(new)
    if len(parts[0]) == len(parts[1]):
        for before, after in zip(*parts, strict=True):
            if before.trainable != after.trainable:
                after.trainable = before.trainable
    pairs = zip(old.variables, new.variables, strict=False)
    for source, target in pairs:
        if source.trainable != target.trainable:
            target.trainable = source.trainable


def freeze_whole(layer: keras.Layer) -> None:
    """Freeze a layer or model as a whole, and not what trains within it."""
    flags = [(part, part.trainable) for part in layers_of(layer)[1:]]
    layer.trainable = False
    for part, trains in flags:
        if part.trainable != trains:
            part.trainable = trains
