"""Layers with weights as what they compute, and a layer that computes it."""

from typing import Any

import numpy as np
from keras import layers, ops

from tfdeep.graph.registry import Registry
from tfdeep.graph.trace import Call
from tfdeep.layers.grouped_conv import GroupedConv2D
from tfdeep.linearization.affine import Affine, of_depthwise, without_groups

AFFINE = Registry("affine")
AFFINE.rule(layers.Dense)("dense")
AFFINE.rule(layers.Conv1D, layers.Conv2D, layers.Conv3D, GroupedConv2D)("conv")
AFFINE.rule(layers.DepthwiseConv1D, layers.DepthwiseConv2D)("depthwise")
CONVOLUTIONS = {1: layers.Conv1D, 2: layers.Conv2D, 3: layers.Conv3D}
PADDINGS = {
    1: layers.ZeroPadding1D,
    2: layers.ZeroPadding2D,
    3: layers.ZeroPadding3D,
}


def is_affine(operation: Any) -> bool:
    """Whether it is a layer whose kernel is what it says it is."""
    quantized = getattr(operation, "quantization_mode", None)
    return AFFINE.find(operation) is not None and not quantized


def affine_of(call: Call) -> Affine:
    """What a layer with weights computes before its activation."""
    layer = call.operation
    kernel = ops.convert_to_numpy(layer.kernel).astype("float64")
    kind = AFFINE.find(layer)
    if kind == "depthwise":
        kernel = of_depthwise(kernel)
    elif kind == "conv":
        kernel = without_groups(kernel, layer.groups)
    bias = np.zeros(kernel.shape[-1])
    if layer.use_bias:
        bias += ops.convert_to_numpy(layer.bias)
    if kind == "dense":
        return Affine(kernel, bias)
    return Affine(
        kernel,
        bias,
        tuple(layer.strides),
        tuple(layer.dilation_rate),
        layer.padding,
        space_of(call.inputs[0], layer),
    )


def space_of(tensor: Any, layer: Any) -> tuple:
    """The sizes of a tensor in space."""
    if getattr(layer, "data_format", None) == "channels_first":
        return tuple(tensor.shape[2:])
    return tuple(tensor.shape[1:-1])


def normalization_of(layer: Any) -> tuple[np.ndarray, np.ndarray]:
    """Factor and shift of each channel, with the moving statistics."""

    def of(weight, otherwise):
        if weight is None:
            return otherwise
        return ops.convert_to_numpy(weight).astype("float64")

    variance = of(layer.moving_variance, 1.0) + layer.epsilon
    factor = of(layer.gamma, 1.0) / np.sqrt(variance)
    return factor, of(layer.beta, 0.0) - factor * of(layer.moving_mean, 0.0)


def called(
    affine: Affine, first: Any, last: Any, inputs: Any, name: str
) -> Any:
    """What a layer that computes so makes of inputs.

    Args:
        affine: what is computed before the activation.
        first: the first layer in whose place it is.
        last: the last one, whose activation it has.
        inputs: a symbolic tensor.
        name: the name of the new layer.
    """
    settings = {
        "activation": last.activation,
        "use_bias": bool(first.use_bias or last.use_bias or affine.bias.any()),
        "name": name,
        "dtype": last.dtype_policy,
    }
    rank = len(affine.sizes)
    kernel, dilation = affine.kernel, affine.dilation
    if not rank:
        layer = layers.Dense(kernel.shape[-1], **settings)
    else:
        if max(affine.strides) > 1 and max(dilation) > 1:
            kernel, dilation = spread(kernel, dilation), (1,) * rank
        if affine.pads and np.any(affine.pads):
            pads = affine.pads[0] if rank == 1 else affine.pads
            inputs = PADDINGS[rank](
                pads,
                data_format=last.data_format,
                name=f"{name}_padding",
                dtype=last.dtype_policy,
            )(inputs)
        layer = CONVOLUTIONS[rank](
            kernel.shape[-1],
            kernel.shape[:-2],
            strides=affine.strides,
            padding=affine.padding,
            dilation_rate=dilation,
            data_format=last.data_format,
            **settings,
        )
    outputs = layer(inputs)
    layer.trainable = first.trainable or last.trainable
    layer.kernel.assign(kernel)
    if settings["use_bias"]:
        layer.bias.assign(affine.bias)
    return outputs


def spread(kernel: np.ndarray, dilation: tuple[int, ...]) -> np.ndarray:
    """A kernel with the zeros of its dilation written out."""
    *sizes, inputs, outputs = kernel.shape
    reach = [(k - 1) * d + 1 for k, d in zip(sizes, dilation, strict=True)]
    full = np.zeros((*reach, inputs, outputs))
    full[tuple(slice(None, None, d) for d in dilation)] = kernel
    return full
