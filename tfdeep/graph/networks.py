"""The networks in which a layer is called, whoever made them.

A layer remembers its symbolic calls, and the tensors of a call those that made
them and took them. From one call, the network around it can thus be found
without the models, of which no layer knows.
"""

from collections.abc import Callable, Iterable
from typing import Any

from tfdeep.keras_internals import calls_after, node_of


def networks_with(nodes: Iterable[Any]) -> list:
    """The calls of all networks that some calls are part of, each once.

    Whatever depends on one of them is an output of such a network, and the
    rest of the network is what these outputs need.

    Args:
        nodes: records of calls, of `keras_internals.calls_of`.

    Example:
        >>> import keras
        >>> from tfdeep.graph.networks import networks_with
        >>> from tfdeep.keras_internals import calls_of
        >>> inputs = keras.Input((4,))
        >>> shared = keras.layers.Dense(4, name="shared")
        >>> added = shared(inputs) + keras.layers.Dense(4, name="a")(inputs)
        >>> apart = keras.layers.Dense(4, name="apart")(inputs)
        >>> found = [n.operation.name for n in networks_with(calls_of(shared))]
        >>> "a" in found, "apart" in found
        (True, False)
    """
    return _closure(_closure(nodes, calls_after), _calls_before)


def _calls_before(node) -> list:
    found = (node_of(tensor) for tensor in node.input_tensors)
    return [each for each in found if each is not None]


def _closure(nodes, following: Callable) -> list:
    found = list({id(node): node for node in nodes}.values())
    seen = {id(node) for node in found}
    for node in found:  # It grows.
        for each in following(node):
            if id(each) not in seen:
                seen.add(id(each))
                found.append(each)
    return found
