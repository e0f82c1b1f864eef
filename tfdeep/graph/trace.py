"""The calls of layers and operations of which a model consists.

A Functional or Sequential model is a graph of calls. A hand-written one is
called with symbolic tensors, which carry a record of the calls that made them.
"""

import inspect
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import keras
from keras import tree

from tfdeep.inside import Reads, is_graph
from tfdeep.keras_internals import node_of


@dataclass(eq=False)
class Call:
    """One call of a layer or operation in a model.

    Args:
        path: names of the nested models around it and its own, joined by
            "/"; a further call of the same layer ends in "#2", "#3".
        operation: the layer or operation.
        args: positional arguments, with symbolic tensors.
        kwargs: keyword arguments.
        outputs: the symbolic tensors it made.
        parts: the calls within it, if it is a nested model.
    """

    path: str
    operation: Any
    args: tuple
    kwargs: dict
    outputs: list
    parts: list["Call"]

    @property
    def inputs(self) -> list:
        """The symbolic tensors among the arguments."""
        found = tree.flatten((self.args, self.kwargs))
        return [each for each in found if isinstance(each, keras.KerasTensor)]

    @property
    def rank(self) -> int | None:
        """The least number of axes of its inputs; `None` without any."""
        return min((len(each.shape) for each in self.inputs), default=None)


@dataclass(eq=False)
class Graph:
    """The calls of a model, as `graph_of` finds them.

    Args:
        model: the model.
        inputs: its symbolic inputs: a tensor, or a structure of them.
        outputs: its symbolic outputs, likewise.
        calls: the calls between them, each after what it needs.
        read: the variables that the model uses outside of its layers.
    """

    model: keras.Model
    inputs: Any
    outputs: Any
    calls: list[Call]
    read: list[keras.Variable] = field(default_factory=list)


def graph_of(
    model: keras.Model, input_shape: Any = None, training: bool = False
) -> Graph:
    """The graph of calls of a built model, which stays as it is.

    Nested models are one call each, with their own calls in `.parts`; so is a
    layer that is made of layers, without parts.

    Args:
        model: a Functional or Sequential model, or a hand-written one that can
            be called with symbolic tensors.
        input_shape: optional shape, or structure of shapes with the batch
            first, of the inputs of a hand-written model, which need not be
            built then; by default those that it was built for.
        training: boolean, whether a hand-written model is called in training
            mode: what it does then alone is among its calls.

    Returns:
        A `Graph`.

    Raises:
        TypeError: if `model` is no `keras.Model`.
        ValueError: if it is not built, or cannot be called with symbolic
            tensors; the message says why.

    Example:
        >>> import keras, tfdeep
        >>> model = keras.Sequential([keras.Input((4,))])
        >>> model.add(keras.layers.Dense(3, name="low"))
        >>> model.add(keras.layers.ReLU(name="relu"))
        >>> [call.path for call in tfdeep.graph.graph_of(model).calls]
        ['low', 'relu']
    """
    if not isinstance(model, keras.Model):
        raise TypeError(
            f"`model` must be a keras.Model. Received: model={model!r} of type "
            f"{type(model).__name__}"
        )
    read: list[keras.Variable] = []
    if is_graph(model):
        inputs, outputs = ends(model)
    else:
        with Reads() as reads:
            inputs, outputs = _called(model, input_shape, training)
        read = reads.variables
    calls = calls_between(inputs, outputs)
    return Graph(
        model, inputs, outputs, calls, [*read, *variables_among(calls)]
    )


def _called(model: keras.Model, input_shape: Any, training: bool) -> tuple:
    """Symbolic inputs of a hand-written model, and what it makes of them."""
    shape = input_shape
    if shape is None and model.built:
        shape = input_shape_of(model)
    if shape is None:
        raise ValueError(
            f"`model` must be built, so that the shapes of its inputs are "
            f"known: call it once. Received: model={model.name!r}"
        )
    inputs = symbols(shape)
    told = "training" in inspect.signature(model.call).parameters
    kwargs = {"training": training} if told else {}
    try:
        # Past `__call__`, which would show one call: that of the model.
        outputs = model.call(inputs, **kwargs)
    except Exception as error:  # Whatever a model does with a symbol.
        raise _not_traced(model, str(error).strip()) from error
    for each in tree.flatten(outputs):
        if not isinstance(each, keras.KerasTensor):
            raise _not_traced(model, f"its `call` returned {each!r}")
    return inputs, outputs


def _not_traced(model: keras.Model, why: str) -> ValueError:
    return ValueError(
        "`model` must be such that it can be called with symbolic tensors: "
        "keras.ops in its `call`, no conditions on values. Received: "
        f"model={model.name!r} ({why.splitlines()[-1] if why else 'error'})"
    )


def symbols(input_shape: Any) -> Any:
    """Symbolic tensors of a shape, or a structure of shapes."""
    return tree.map_shape_structure(
        lambda shape: keras.Input(batch_shape=shape), input_shape
    )


def input_shape_of(model: keras.Model) -> Any:
    """The shape that a built model is built for, `None` if it keeps none."""
    if getattr(model, "inputs", None):
        return tree.map_structure(lambda t: t.shape, ends(model)[0])
    return (model.get_build_config() or {}).get("input_shape")


def variables_among(calls: list[Call]) -> list:
    """The variables that are arguments of calls: they belong to none."""
    arguments = tree.flatten([(call.args, call.kwargs) for call in calls])
    return [each for each in arguments if isinstance(each, keras.Variable)]


def ends(model: keras.Model) -> tuple[Any, Any]:
    """Symbolic inputs and outputs of a Functional or Sequential model."""
    if isinstance(model, keras.Sequential):
        inputs, outputs = model.inputs, model.outputs
        return (
            inputs[0] if len(inputs) == 1 else inputs,
            outputs[0] if len(outputs) == 1 else outputs,
        )
    return model.input, model.output


def calls_between(inputs: Any, outputs: Any, prefix: str = "") -> list[Call]:
    """The calls that lead from inputs to outputs, each after what it needs."""
    starts = {id(tensor) for tensor in tree.flatten(inputs)}
    found: list[Call] = []
    counts: dict[str, int] = {}
    for node in _ordered(starts, tree.flatten(outputs)):
        operation = node.operation
        name = operation.name
        if not isinstance(operation, keras.layers.Layer):
            name = type(operation).__name__.lower()  # Keras numbers these.
        count = counts[name] = counts.get(name, 0) + 1
        path = prefix + name + (f"#{count}" if count > 1 else "")
        parts = []
        if is_graph(operation):
            parts = calls_between(*ends(operation), prefix=f"{path}/")
        arguments = node.arguments
        found.append(
            Call(
                path,
                operation,
                arguments.args,
                arguments.kwargs,
                list(node.output_tensors),
                parts,
            )
        )
    return found


def _ordered(starts: set[int], outputs: Iterable) -> list:
    """Nodes behind the outputs, depth first; a deep net must not recurse."""
    done: dict[int, Any] = {}
    waiting = [(tensor, False) for tensor in reversed(list(outputs))]
    while waiting:
        tensor, ready = waiting.pop()
        node = None if id(tensor) in starts else node_of(tensor)
        if node is None or id(node) in done or not node.input_tensors:
            continue
        if ready:
            done[id(node)] = node
            continue
        waiting.append((tensor, True))
        waiting.extend((each, False) for each in reversed(node.input_tensors))
    return list(done.values())


def within(calls: Iterable[Call]) -> list[Call]:
    """The calls and all those inside them."""
    found = []
    for call in calls:
        found.append(call)
        found.extend(within(call.parts))
    return found


def made(calls: Iterable[Call]) -> list[str]:
    """The paths of the calls, in the order in which their outputs are made."""
    return [path for c in calls for path in (*made(c.parts), c.path)]
