"""The `BatchEntropy` layers of a model, and where they cannot be heard.

A loop is traced once for all its copies, and a branch may be left out: what a
layer reports from there has no tensor outside.
"""

import keras

from tfdeep.graph.parts import every_part
from tfdeep.keras_internals import layers_of
from tfdeep.layers.entropy import BatchEntropy
from tfdeep.layers.recompute import Recompute
from tfdeep.layers.repeat import Repeat
from tfdeep.layers.reversible_layer import ReversibleLayer
from tfdeep.layers.reversible_stack import ReversibleStack, alike
from tfdeep.layers.stochastic_depth import StochasticDepth


def reporters_of(model: keras.Layer) -> dict[str, BatchEntropy]:
    """The `BatchEntropy` layers of a model by name, told apart by numbers."""
    found: dict[str, BatchEntropy] = {}
    for layer in layers_of(model):
        if isinstance(layer, BatchEntropy):
            same = sum(each.name == layer.name for each in found.values())
            name = layer.name + (f"#{same + 1}" if same else "")
            found[name] = layer
    return found


def check_heard(model: keras.Layer) -> None:
    """Raise `ValueError` for a `BatchEntropy` layer that cannot be heard."""
    for layer in every_part(model):
        if isinstance(layer, StochasticDepth):
            _refuse(
                layer,
                "a branch that may be skipped. What is not computed has no "
                "entropy. Put it behind the block.",
            )
        elif isinstance(layer, Repeat):
            _refuse(
                layer,
                "a Repeat, whose copies run as one loop. No entropy comes out "
                "of a loop. Put it behind that layer, or make plain layers of "
                "the copies with tfdeep.models.unstack(model).",
            )
        elif isinstance(layer, ReversibleStack) and alike(layer.blocks):
            _refuse(
                layer,
                "a ReversibleStack, whose equal blocks run as one loop. No "
                "entropy comes out of a loop. Put it behind that layer.",
            )


def check_gradients(model: keras.Layer) -> None:
    """Raise `ValueError` for one whose entropy would be a constant.

    On JAX what is reported from a custom backward pass has no gradient.
    """
    for layer in layers_of(model):
        if isinstance(layer, Recompute | ReversibleLayer):
            _refuse(
                layer,
                "a layer out of whose backward pass an entropy has no gradient "
                "on JAX. It must be outside. Put it behind that layer, or "
                "train on TensorFlow.",
            )


def _refuse(layer: keras.Layer, why: str) -> None:
    for part in every_part(layer):
        if isinstance(part, BatchEntropy):
            raise ValueError(
                f"The BatchEntropy layer {part.name!r} must not be within "
                f"{layer.name!r}, {why}"
            )
