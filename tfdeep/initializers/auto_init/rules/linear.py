"""Layers with kernels: y = W x.

    E[y^2] = sigma^2 sum E[x^2]

for weights of mean 0 and variance sigma^2, whatever the inputs' correlations.
The sum runs over what a layer really adds up: padding does not count.
"""

import keras
import numpy as np
from keras import layers, ops

from tfdeep.initializers.auto_init.rules.measuring import measured
from tfdeep.initializers.auto_init.rules.pointwise import apply_activation
from tfdeep.initializers.auto_init.rules.registry import (
    axis_of,
    first,
    rule,
    single,
)
from tfdeep.initializers.auto_init.signal import measure
from tfdeep.initializers.auto_init.tensors import to_numpy
from tfdeep.layers import GroupedConv2D


def linear(unit):
    """A rule for one kernel; `unit(layer, second)` sums over its inputs."""

    def apply(state, layer, call, args, kwargs):
        x = first(args, kwargs)
        before = state.signal(x)
        full = np.broadcast_to(before.second, (1, *x.shape[1:]))
        sums = np.asarray(unit(layer, full), "float64")
        number, new = state.draw(layer)
        sigma = state.weights(layer, kernel_of(layer), float(sums.mean()), new)

        def variances():
            return unit(layer, np.square(to_numpy(x), dtype="float64"))

        return finish_linear(
            state,
            layer,
            call,
            args,
            kwargs,
            before,
            sigma * sums,
            number,
            variances,
        )

    return apply


def finish_linear(
    state, layer, call, args, kwargs, before, second, number, variances=None
):
    """Call without the activation; then the bias, and the activation.

    `variances()` are, up to a factor, those of the outputs given the inputs.
    """
    activation = getattr(layer, "activation", None)
    fused = activation not in (None, keras.activations.linear)
    if fused:
        layer.activation = keras.activations.linear
    try:
        y = state.whole(*args, **kwargs)
    finally:
        if fused:
            layer.activation = activation
    bias = getattr(layer, "bias", None)
    shift = np.zeros(1) if bias is None else to_numpy(bias).astype("float64")
    centred = not np.any(shift) and number not in before.draws
    signal = before.replace(
        mean=float(shift.mean()),
        second=second + float(np.mean(shift**2)),
        gaussian=centred,
        draws=before.draws | {number},
        fresh=number if centred else None,
    )
    if centred:
        y = state.corrected(kernel_of(layer), y, signal.q)
    y = state.give(y, signal, drawn=True)
    if centred and variances is not None:
        state.know_variances(y, variances)
    return apply_activation(state, activation, y) if fused else y


def kernel_of(layer):
    """The kernel whose outputs are the layer's."""
    last = getattr(layer, "pointwise_kernel", None)
    return layer.kernel if last is None else last


def ones(*shape):
    """A kernel of ones."""
    return np.ones(shape, "float32")


def dense_sum(layer, second):
    return second.sum(-1, keepdims=True)


def conv_sum(layer, second):
    kernel = ones(*layer.kernel.shape[:-1], layer.groups)
    pad = getattr(layer, "padding", None)
    if pad == "causal":
        second = np.pad(second, _causal(layer, second.ndim))
    result = ops.conv(
        single(second),
        kernel,
        strides=layer.strides,
        padding="valid" if pad == "causal" else pad,
        dilation_rate=layer.dilation_rate,
        data_format=layer.data_format,
    )
    return to_numpy(result).mean(axis_of(layer, 0), keepdims=True)


def _causal(layer, rank):
    pads = [(0, 0)] * rank
    steps = 2 if layer.data_format == "channels_first" else 1
    left = layer.dilation_rate[0] * (layer.kernel_size[0] - 1)
    pads[steps] = (left, 0)
    return pads


def depthwise_sum(layer, second):
    axis = axis_of(layer, 0)
    result = ops.depthwise_conv(
        single(second.mean(axis, keepdims=True)),
        ones(*layer.kernel_size, 1, 1),
        strides=layer.strides,
        padding=layer.padding,
        dilation_rate=layer.dilation_rate,
        data_format=layer.data_format,
    )
    return to_numpy(result)


def transpose_sum(layer, second):
    kernel = ones(*layer.kernel_size, 1, second.shape[axis_of(layer, 0)])
    result = ops.conv_transpose(
        single(second),
        kernel,
        strides=layer.strides,
        padding=layer.padding,
        output_padding=layer.output_padding,
        dilation_rate=layer.dilation_rate,
        data_format=layer.data_format,
    )
    return to_numpy(result)


def einsum_sum(layer, second):
    kernel = ones(*layer.kernel.shape)
    result = to_numpy(ops.einsum(layer.equation, single(second), kernel))
    return result.mean().reshape((1,) * result.ndim)


rule(layers.Dense)(linear(dense_sum))
rule(layers.EinsumDense)(linear(einsum_sum))
rule(layers.Conv1D, layers.Conv2D, layers.Conv3D)(linear(conv_sum))
rule(GroupedConv2D)(linear(conv_sum))
rule(layers.DepthwiseConv1D, layers.DepthwiseConv2D)(linear(depthwise_sum))
rule(
    layers.Conv1DTranspose,
    layers.Conv2DTranspose,
    layers.Conv3DTranspose,
)(linear(transpose_sum))


@rule(layers.SeparableConv1D, layers.SeparableConv2D)
def separable(state, layer, call, args, kwargs):
    """Two kernels; each stage gets the target variance."""
    x = first(args, kwargs)
    before = state.signal(x)
    full = np.broadcast_to(before.second, (1, *x.shape[1:]))
    number, new = state.draw(layer)
    sums = depthwise_sum(layer, full).astype("float64")
    middle = sums * state.weights(
        layer, layer.depthwise_kernel, float(sums.mean()), new
    )
    fan = layer.pointwise_kernel.shape[-2]
    second = middle * fan
    second = second * state.weights(
        layer, layer.pointwise_kernel, float(second.mean()), new
    )
    return finish_linear(
        state, layer, call, args, kwargs, before, second, number
    )


@rule(layers.Embedding)
def embedding(state, layer, call, args, kwargs):
    """Rows of a table: the law of the table's values."""
    number, new = state.draw(layer)
    sigma = state.weights(layer, layer.embeddings, 1.0, new)
    y = call(*args, **kwargs)
    signal = measure(to_numpy(y)).replace(
        mean=0.0, draws=frozenset({number}), fresh=number
    )
    signal = signal.replace(second=np.full((1,) * len(y.shape), sigma))
    return state.give(y, signal)


@rule(layers.ReversibleEmbedding)
def reversible_embedding(state, layer, call, args, kwargs):
    """A table, and from rows back to logits by it or by a kernel."""
    if not kwargs.get("reverse", args[1] if len(args) > 1 else False):
        return embedding(state, layer, call, args, kwargs)
    x = first(args, kwargs)
    before = state.signal(x)
    tied = layer.tie_weights
    table = layer.embeddings if tied else layer.reverse_embeddings
    number, new = state.draw(layer if tied else table)
    sigma = state.weights(layer, table, layer.output_dim * before.q, new)
    y = state.whole(*args, **kwargs)
    # A row meets itself in the table, unless other weights are in between.
    if before.draws == {number} or layer.logit_soft_cap is not None:
        measured(state, layer, y, [x])
        return y
    fresh = number not in before.draws
    second = np.full((1,) * len(y.shape), sigma * layer.output_dim * before.q)
    signal = before.replace(
        mean=0.0,
        second=second,
        gaussian=fresh,
        draws=before.draws | {number},
        fresh=number if fresh else None,
    )
    if fresh:
        y = state.corrected(table, y, signal.q)
    return state.give(y, signal)
