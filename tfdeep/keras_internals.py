"""Every private name of Keras that the package reads, and why.

Nothing else in the package touches an underscore name of Keras; a test looks
for it, and another says which of these a release has removed. All were read
in Keras 3.13 to 3.15. This module imports nothing of the package.
"""

import contextlib
import copy
from collections.abc import Iterator
from typing import Any

import keras

# Those of an optimizer: by variable and by a pattern of names.
_EXCLUSIONS = (
    "_exclude_from_weight_decay",
    "_exclude_from_weight_decay_pattern",
)


def layers_of(layer: keras.Layer) -> list:
    """The layer itself and all layers in it, at any depth, each once.

    `model.layers` is public, and stops at what no model holds.
    """
    return list(layer._flatten_layers())


def kept_layers(layer: keras.Layer) -> list:
    """The layer itself and all that it and they keep for good, each once.

    They may be no longer used: a Sequential model keeps the graphs that it
    had before `add` and `pop`.
    """
    found = [layer]
    seen = {id(layer)}
    for each in found:  # It grows.
        _, held = each._tracker.config["layers"]
        new = [part for part in held if id(part) not in seen]
        seen.update(map(id, new))
        found += new
    return found


def node_of(tensor: Any) -> Any:
    """The record of the call that made a symbolic tensor, or `None`.

    It has `.operation`, `.arguments`, `.input_tensors` and `.output_tensors`.
    What is public of it are configurations, without the tensors.
    """
    history = getattr(tensor, "_keras_history", None)
    if history is None or history.operation is None:
        return None
    return history.operation._inbound_nodes[history.node_index]


def nodes_as_run(model: keras.Model) -> list:
    """The records of the calls of a Functional model, in the order it runs them.

    It runs first what is farthest from the outputs.
    """
    by_depth = model._nodes_by_depth
    return [
        node
        for depth in sorted(by_depth, reverse=True)
        for node in by_depth[depth]
    ]


def number_of(tensor: keras.KerasTensor) -> int:
    """A number by which symbolic tensors that Keras made follow one another.

    Keras counts them in their names, which are public; their form is not.
    """
    number = tensor.name.rpartition("_")[2]
    return int(number) if number.isdecimal() else 0


def calls_of(operation: Any) -> list:
    """The records of all symbolic calls of a layer, as `node_of` gives them.

    They are kept as long as the layer, whoever made them.
    """
    return list(operation._inbound_nodes)


@contextlib.contextmanager
def calls_forgotten(layer: keras.Layer) -> Iterator[None]:
    """Let a layer, and those in it, forget the symbolic calls made meanwhile.

    They would keep the records for good, and a summary of the model would show
    the shapes of the last one.
    """
    kept = [
        (nodes, len(nodes))
        for each in layers_of(layer)
        for nodes in (each._inbound_nodes, each._outbound_nodes)
    ]
    try:
        yield
    finally:
        for nodes, count in kept:
            del nodes[count:]


def calls_after(node: Any) -> list:
    """The records of the calls that took what a call made."""
    return [
        after
        for after in node.operation._outbound_nodes
        if any(node_of(tensor) is node for tensor in after.input_tensors)
    ]


def mask_on(tensor: Any) -> Any:
    """The mask that Keras has attached to a tensor, or `None`.

    Of a tensor that cannot have attributes, only layers are told.
    """
    return getattr(tensor, "_keras_mask", None)


def put_mask_on(tensor: Any, mask: Any) -> None:
    """Attach a mask to a tensor, from which layers take theirs."""
    tensor._keras_mask = mask


def initializer_of(variable: keras.Variable) -> Any:
    """What a variable begins with that is not initialized yet.

    Keras keeps it as long as a `StatelessScope` defers the initialization.
    """
    return variable._initializer


def key_of(optimizer: Any, variable: keras.Variable) -> Any:
    """What an optimizer knows a variable by.

    Raises:
        AttributeError: on TensorFlow, while another value stands for the
            variable.
    """
    return optimizer._var_key(variable)


def exclude(optimizer: Any, keys: set) -> None:
    """Exclude variables from weight decay, besides those that are excluded.

    `Optimizer.exclude_from_weight_decay` forgets what was excluded before,
    and raises once the optimizer is built.
    """
    excluded = set(getattr(optimizer, "_exclude_from_weight_decay", ()))
    optimizer._exclude_from_weight_decay = excluded | keys
    optimizer._exclude_from_weight_decay_cache = {}


def excluded_by(optimizer: Any) -> set:
    """The keys of the variables that an optimizer does not let decay."""
    return set(getattr(optimizer, "_exclude_from_weight_decay", ()))


def copy_exclusions(source: Any, target: Any) -> None:
    """Exclude from an optimizer's weight decay what another one excludes.

    A configuration does not say it.
    """
    for name in _EXCLUSIONS:
        if hasattr(source, name):
            setattr(target, name, copy.copy(getattr(source, name)))


def weights_of(optimizer: Any) -> list:
    """The weights that a built optimizer trains, in its order."""
    return list(optimizer._trainable_variables)


def take_weights(optimizer: Any, variables: list) -> None:
    """Build an optimizer on the weights it trains, and make no variables.

    `Optimizer.build` makes averages and accumulators of the settings that an
    optimizer has; one around another would make them a second time. Past
    `__setattr__`, which would take the weights for variables of its own.
    """
    object.__setattr__(optimizer, "_trainable_variables", list(variables))
    indices = {key_of(optimizer, v): i for i, v in enumerate(variables)}
    object.__setattr__(optimizer, "_trainable_variables_indices", indices)
    optimizer.built = True


def places_of(optimizer: Any, variables: list) -> list[int]:
    """The places of variables among the weights that an optimizer trains.

    Raises:
        ValueError: if it was not built on one of them.
    """
    optimizer._check_variables_are_known(variables)
    return [optimizer._get_variable_index(variable) for variable in variables]


def averages_of(optimizer: Any) -> list:
    """The averages of weights that an optimizer with `use_ema` keeps.

    Raises:
        AttributeError: if it keeps none, which callbacks of Keras ask for.
    """
    return optimizer._model_variables_moving_average


def slots_of(optimizer: Any) -> dict[str, list]:
    """What a built optimizer keeps for each weight: momenta and the like.

    Returns:
        Lists by attribute, with a variable or `None` for each weight. The
        attributes of an optimizer are found by their form, whatever it is.
    """
    count = len(weights_of(optimizer))
    skipped = ("_variables", "_trainable_variables")
    return {
        name: list(kept)
        for name, kept in vars(optimizer).items()
        if isinstance(kept, list)
        and len(kept) == count
        and name not in skipped
        and any(isinstance(each, keras.Variable) for each in kept)
    }


def scalars_of(optimizer: Any) -> dict[str, keras.Variable]:
    """The variables of an optimizer that are not kept for a weight."""
    return {
        name: value
        for name, value in vars(optimizer).items()
        if isinstance(value, keras.Variable)
    }


def compiled_with(model: keras.Model) -> dict:
    """What a compiled model was compiled with, as it was given.

    `get_compile_config` is public, and turns it into text, from which only
    what is registered comes back.
    """
    return dict(model._compile_config.config)
