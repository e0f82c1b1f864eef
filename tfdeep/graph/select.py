"""Which layers of a model are meant: by name, by path, by a rule."""

import difflib
import fnmatch
from collections.abc import Callable, Iterable
from typing import Any

import keras

from tfdeep.graph.trace import Call, within
from tfdeep.keras_internals import layers_of
from tfdeep.layers.repeat import Repeat
from tfdeep.layers.reversible_layer import ReversibleLayer
from tfdeep.layers.sparse_prelu import SparsePReLU

ACTIVATIONS = (
    keras.layers.Activation,
    keras.layers.ReLU,
    keras.layers.LeakyReLU,
    keras.layers.PReLU,
    keras.layers.ELU,
    SparsePReLU,
)
# No signal to keep alive: probabilities, and nothing at all.
NO_HIDDEN = ("softmax", "log_softmax", "linear")


def hidden(calls: list[Call], outputs: Iterable) -> list[Call]:
    """The calls whose output is that of a hidden layer, in order.

    Activations, with a layer of their own or as an argument of a layer with
    weights, and whole blocks. Never what the model returns. A nested model
    is looked into.
    """
    last = {id(tensor) for tensor in outputs}
    found = []
    for call in calls:
        ends_here = any(id(tensor) in last for tensor in call.outputs)
        if call.parts:
            inner = list(call.operation.outputs) if ends_here else []
            found.extend(hidden(call.parts, inner))
        elif not ends_here and _is_hidden(call.operation):
            found.append(call)
    return found


def _is_hidden(operation: Any) -> bool:
    if not isinstance(operation, keras.layers.Layer):
        name = type(operation).__name__.lower()
        return name in _activation_names()
    if isinstance(operation, ACTIVATIONS):
        return _name_of(operation) not in NO_HIDDEN
    if not operation.weights:  # Frozen ones are no less on the way.
        return False
    if hasattr(operation, "activation"):
        return _name_of(operation) not in NO_HIDDEN
    return _is_block(operation)


def _is_block(layer: keras.layers.Layer) -> bool:
    """Whether a layer is made of further layers with weights."""
    if isinstance(layer, (Repeat, ReversibleLayer)):
        return True  # It holds the weights of its copies itself.
    parts = {id(v) for part in layers_of(layer)[1:] for v in part.variables}
    return any(id(v) in parts for v in layer.weights)


def _activation_names() -> set[str]:
    names = {name.replace("_", "") for name in dir(keras.activations)}
    return names - {name.replace("_", "") for name in NO_HIDDEN}


def _name_of(operation: Any) -> str:
    activation = getattr(operation, "activation", None)
    return getattr(activation, "__name__", type(operation).__name__)


def named(calls: list[Call], name: str, every: bool = False) -> list[Call]:
    """The call of a layer by its path, or by the end of its path.

    Args:
        calls: the calls of the model.
        name: a layer's name, or its path such as `"block/dense"`.
        every: whether a layer that is called several times counts with all
            its calls.

    Raises:
        ValueError: if there is no such layer, or there are several.
    """
    everything = within(calls)
    exact = [c for c in everything if c.path == str(name).removesuffix("#1")]
    found = exact or [
        call for call in everything if call.path.endswith(f"/{name}")
    ]
    if not found:
        raise ValueError(_unknown(name, everything))
    several = {id(call.operation) for call in found}
    if len(several if every else found) > 1:
        paths = ", ".join(repr(call.path) for call in found)
        raise ValueError(
            "A layer must be named by its path where several have its name. "
            f"Received: {name!r}, which is one of {paths}."
        )
    same = [c for c in everything if c.operation is found[0].operation]
    if len(same) == 1 or "#" in name:
        return found
    if every:
        return same
    paths = ", ".join(repr(call.path) for call in same)
    raise ValueError(
        "A layer must be called once, where its output is meant. Received: "
        f"{name!r}, which is called {len(same)} times: {paths}. Add '#1', "
        "'#2' to name the call."
    )


def meant(calls: list[Call], pattern: Any) -> list[Call]:
    """The calls that a pattern means, nested ones among them.

    Args:
        calls: the calls of the model.
        pattern: a layer of the model; its name or path, as of `named`, with
            all its calls; or a pattern of `fnmatch` for whole paths, such as
            `"block_*/conv"`, whose `*` stands for any text, "/" as well.

    Raises:
        TypeError: if it is neither a layer nor a string.
        ValueError: if it means nothing, or a name means several layers.
    """
    every = within(calls)
    if isinstance(pattern, keras.Layer):
        found = [call for call in every if call.operation is pattern]
        shown = f"the layer {pattern.name!r}"
    elif not isinstance(pattern, str):
        raise TypeError(
            "A pattern must be a layer of the model, its path, or a pattern "
            f"of paths such as 'block_*/conv'. Received: {pattern!r}"
        )
    elif not set(pattern) & set("*?[") or any(c.path == pattern for c in every):
        return named(calls, pattern, every=True)
    else:
        found = [c for c in every if fnmatch.fnmatchcase(c.path, pattern)]
        shown = f"the pattern {pattern!r}"
    if not found:
        raise ValueError(
            "A pattern must mean something that the model calls: "
            f"{_listed([call.path for call in every])}. Received: {shown}, "
            "which means none of them"
        )
    return found


def _unknown(name: str, calls: list[Call]) -> str:
    paths = [call.path for call in calls]
    near = difflib.get_close_matches(str(name), paths, 1, 0.0)
    hint = f"Did you mean {near[0]!r}?" if near else "It has no layers."
    return (
        f"A layer must be one that the model calls: {_listed(paths)}. "
        f"Received: {name!r}. {hint}"
    )


def _listed(paths: list[str]) -> str:
    shown = [repr(path) for path in paths[:8]]
    return ", ".join(shown) + (", ..." if len(paths) > 8 else "")


def chosen(
    calls: list[Call],
    outputs: Iterable,
    layers: str | Iterable[str] | Callable[[Any], bool],
) -> list[Call]:
    """The calls that `layers` means, each once, in the model's order.

    Raises:
        TypeError: if `layers` is of another kind.
        ValueError: if a name is unknown or ambiguous, or nothing is meant.
    """
    if layers == "hidden":
        found = hidden(calls, outputs)
    elif callable(layers):
        found = [c for c in within(calls) if layers(c.operation)]
    elif isinstance(layers, str) or not isinstance(layers, Iterable):
        raise TypeError(
            "`layers` must be 'hidden', a list of names, or a function of a "
            f"layer. Received: layers={layers!r}. Put a single name in a list."
        )
    else:
        found = [c for name in layers for c in named(calls, name, every=True)]
    if not found:
        raise ValueError(
            "`layers` must name layers of the model, or be a function that "
            f"is true of some. Received: layers={layers!r}, which no layer of "
            "the model answers to."
        )
    order = {id(call): index for index, call in enumerate(within(calls))}
    unique = {id(call): call for call in found}
    return sorted(unique.values(), key=lambda call: order[id(call)])
