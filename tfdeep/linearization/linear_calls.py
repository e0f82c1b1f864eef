"""Which calls of a model are linear, and which may become one with another."""

from typing import Any

import keras
from keras import layers

from tfdeep.graph import Call
from tfdeep.graph.registry import Registry
from tfdeep.layers.sparse_prelu import SparsePReLU
from tfdeep.linearization.folded_layer import AFFINE

LINEAR = Registry("linear")
LINEAR.rule(layers.Identity, SparsePReLU)(True)
NORMALIZATION = Registry("normalization")
NORMALIZATION.rule(layers.BatchNormalization)(True)


def is_unit(operation: Any) -> bool:
    """Whether a layer has units that may be linear."""
    return isinstance(operation, SparsePReLU)


def is_linear(operation: Any) -> bool:
    """Whether a layer hands on what it gets, at inference and in training."""
    if not LINEAR.find(operation):
        return False
    return not is_unit(operation) or operation.active_units == 0


def is_activated(call: Call) -> bool:
    """Whether the layer of a call has an activation in it."""
    return call.operation.activation is not keras.activations.linear


def is_sum(call: Call) -> bool:
    """Whether a call adds two tensors."""
    kind = type(call.operation)
    return kind.__name__ == "Add" and len(call.inputs) == 2


def of_a_kind(one: Call, other: Call) -> bool:
    """Whether both are products, or convolutions over the same axes."""
    kinds = [AFFINE.find(c.operation) == "dense" for c in (one, other)]
    if kinds[0] or kinds[1]:
        return all(kinds)
    formats = {c.operation.data_format for c in (one, other)}
    return one.operation.rank == other.operation.rank and len(formats) == 1


def normalizes(call: Call, last: Call) -> bool:
    """Whether it normalizes the channels that a layer makes."""
    if not NORMALIZATION.find(call.operation):
        return False
    rank = len(call.inputs[0].shape)
    first = getattr(last.operation, "data_format", "") == "channels_first"
    return call.operation.axis % rank == (1 if first else rank - 1)
