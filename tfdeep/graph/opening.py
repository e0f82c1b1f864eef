"""The calls within a layer that is made of layers.

A layer's `call` is run once with symbolic tensors, which carry a record of
the calls that made them, as those of a Functional model do.
"""

import inspect
from dataclasses import dataclass
from typing import Any

import keras
from keras import tree

from tfdeep.graph.trace import Call, calls_between, ends, variables_among
from tfdeep.inside import Reads, is_graph
from tfdeep.keras_internals import layers_of
from tfdeep.masks import mask_of, stand_in
from tfdeep.untracked import Untracked


class CannotOpen(Exception):
    """Raised where the layers within a layer cannot be told apart."""


@dataclass(eq=False)
class Opened:
    """A layer as the calls within it.

    Args:
        calls: the calls, in order.
        inputs: the symbolic inputs that they start from.
        outputs: the symbolic outputs.
        worn: the symbolic masks of the inputs, `None` where there is none.
        masks: the same of the outputs.
        returned: the outputs in the structure that the layer returns.
    """

    calls: list[Call]
    inputs: list
    outputs: list
    worn: list
    masks: list
    returned: Any = None


def open_call(
    call: Call, reads: bool = False, arguments: bool = False
) -> Opened:
    """Open the layer of a call.

    Args:
        call: the call of a layer or of a nested model.
        reads: boolean, whether the layer may use weights besides those of
            the layers within it. They are constants of the calls then.
        arguments: boolean, whether such weights may be arguments of the calls,
            which take them as they are when they run.

    Raises:
        CannotOpen: if the layer has no `call` that takes symbolic tensors.
    """
    layer = call.operation
    if is_graph(layer):
        starts, results = ends(layer)
        inputs, outputs = tree.flatten(starts), tree.flatten(results)
        if len(inputs) != len(call.inputs):
            raise CannotOpen(layer.name)
        return Opened(call.parts, inputs, outputs, [], [], results)
    symbols = {id(each): stand_in(each) for each in call.inputs}
    inputs = [symbols[id(each)] for each in call.inputs]
    worn = [mask_of(each) for each in inputs]  # A layer may take them off.
    args, kwargs = _handed_on(layer, call, symbols)
    returned = opened(layer, args, kwargs, reads)
    outputs = tree.flatten(returned)
    if not all(map(is_symbol, outputs)):
        raise CannotOpen(layer.name)
    begins = [*inputs, *filter(is_symbol, worn)]
    masks = [mask_of(each) for each in outputs]
    calls = calls_between(
        begins, [*outputs, *filter(is_symbol, masks)], f"{call.path}/"
    )
    if variables_among(calls) and not (reads or arguments):
        raise CannotOpen(layer.name)
    return Opened(calls, inputs, outputs, worn, masks, returned)


def _handed_on(layer, call: Call, symbols: dict) -> tuple:
    """The arguments of a call, with the masks that Keras would hand on.

    Keras gives a layer the masks of its inputs, `mask` of a single one and
    `name_mask` of an argument `name`, when it is called; its `call` alone sees
    none.

    Args:
        layer: the layer.
        call: its call.
        symbols: what stands in for its inputs, by their identity.
    """
    known = {id(mask_of(each)) for each in call.inputs}
    given = {
        name: value
        for name, value in call.kwargs.items()
        if not (name.endswith("mask") and id(value) in known)
    }
    args, kwargs = tree.map_structure(
        lambda each: symbols.get(id(each), each), (call.args, given)
    )
    signature = inspect.signature(layer.call)
    if not takes_training(layer):
        kwargs.pop("training", None)  # Keras keeps it from such a layer.
    try:
        arguments = signature.bind(*args, **kwargs).arguments
    except TypeError as error:
        raise CannotOpen(layer.name) from error
    tensors = {
        name: value
        for name, value in arguments.items()
        if any(map(is_symbol, tree.flatten(value)))
    }
    for name, value in tensors.items():
        argument = "mask" if len(tensors) == 1 else f"{name}_mask"
        if argument in signature.parameters and kwargs.get(argument) is None:
            masks = tree.map_structure(mask_of, value)
            if any(map(is_symbol, tree.flatten(masks))):
                kwargs[argument] = masks
    return args, kwargs


class _Opener(keras.layers.Layer):
    """Calls the insides of a layer with symbols, as if it were trained."""

    def __init__(self, layer, reads: bool):
        super().__init__(autocast=False)
        self.supports_masking = True  # The layer within says what it hands on.
        self.reads = reads
        self.opened = Untracked(layer)
        self.built = True
        self.outputs: list = []

    def call(self, *args, training=None, **kwargs):
        raise NotImplementedError  # It never meets a tensor.

    def compute_mask(self, inputs, previous_mask):
        return None

    def compute_output_spec(self, *args, training=None, **kwargs):
        layer = self.opened.value
        if takes_training(layer):
            kwargs["training"] = training
        # Past `__call__`, which would show one call: that of the layer. What
        # is returned will show one too: that of this layer. Where all is built,
        # no variable has to be given its value at the end.
        built = all(part.built for part in layers_of(layer))
        with Reads(initialize_variables=not built) as reads:
            outputs = layer.call(*args, **kwargs)
        if (
            reads.variables and not self.reads
        ):  # By hand: they would be constants from now on.
            raise CannotOpen(layer.name)
        self.outputs = [outputs]
        return tree.map_structure(
            lambda t: keras.KerasTensor(t.shape, t.dtype), outputs
        )


def opened(layer, args, kwargs, reads: bool = False):
    """The symbolic outputs of a layer, made by the layers within it.

    See `open_call`.
    """
    kwargs = {"training": True, **kwargs}
    if kwargs["training"] is None:
        kwargs["training"] = True
    opener = _Opener(layer, reads)
    try:
        opener(*args, **kwargs)
    except Exception as error:  # Whatever a layer does with a symbol.
        raise CannotOpen(layer.name) from error
    return opener.outputs[0]


def is_symbol(value) -> bool:
    """Whether it is a symbolic tensor."""
    return isinstance(value, keras.KerasTensor)


def takes_training(layer) -> bool:
    """Whether it is a layer whose call has the argument `training`."""
    if not isinstance(layer, keras.layers.Layer):
        return False
    return "training" in inspect.signature(layer.call).parameters


def is_composite(operation) -> bool:
    """Whether it is a layer that is made of layers."""
    return isinstance(operation, keras.layers.Layer) and bool(
        layers_of(operation)[1:]
    )
