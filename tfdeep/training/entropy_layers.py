"""The layers whose batch entropy is taken, and their entropies."""

from collections.abc import Callable, Iterable
from typing import Any

from keras import ops, tree

from tfdeep.graph.select import chosen
from tfdeep.layers.entropy import batch_entropies
from tfdeep.training.reporters import check_heard
from tfdeep.training.taps import Interior, Tapped

Layers = str | Iterable[str] | Callable[[Any], bool]


class EntropyLayers:
    """Which layers of a model are meant by `layers`, and how to read them.

    Args:
        interior: the inside of a built model.
        layers: `"hidden"`, names or paths, or a function of a layer. Where
            the model holds `BatchEntropy` layers, `"hidden"` is those.

    Raises:
        ValueError: if no layer is meant, or one that cannot be heard.
    """

    def __init__(self, interior: Interior, layers: Layers):
        hidden = isinstance(layers, str) and layers == "hidden"
        if hidden:
            check_heard(interior.model)
        self.reported = hidden and bool(interior.reporters)
        if self.reported:
            self.names = tuple(interior.reporters)
            return
        interior.check_symbolic()
        calls = chosen(interior.calls, tree.flatten(interior.outputs), layers)
        self.names = tuple(call.path for call in calls)

    @property
    def paths(self) -> tuple[str, ...]:
        """The paths of the layers to tap."""
        return () if self.reported else self.names

    def entropies(self, tapped: Tapped):
        """The batch entropies, a vector in the order of `names`."""
        if self.reported:
            return ops.stack([tapped.reports[name] for name in self.names])
        return batch_entropies([tapped.taps[name] for name in self.names])
