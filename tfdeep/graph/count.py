"""The multiplications and additions of a call, by what it computes.

A product of matrices (m, k) and (k, n) has m k n multiply-adds. Of all else,
normalization, activations, pooling, biases, nothing is counted, as papers do.
"""

import math
from typing import Any

import keras
from keras import layers, tree

from tfdeep.graph.opening import CannotOpen, is_symbol, open_call
from tfdeep.graph.parts import parts_of
from tfdeep.graph.program import Program
from tfdeep.graph.registry import Registry
from tfdeep.graph.trace import Call, calls_between, ends
from tfdeep.inside import is_graph
from tfdeep.layers.dense_block import DenseBlock
from tfdeep.layers.grouped_conv import GroupedConv2D
from tfdeep.layers.reversible_capsule import ReversibleCapsule
from tfdeep.layers.reversible_stack import ReversibleStack
from tfdeep.layers.routing_capsules import RoutingCapsules
from tfdeep.layers.weight_standardized_conv import WeightStandardizedConv2D

COUNTS = Registry("count_rule")
# What loops, calls functions or solves equations: it is opened or unknown.
UNKNOWN = (
    "AssociativeScan Cholesky CholeskyInverse Cond Det Eig Eigh Fft Fft2 "
    "ForiLoop Ifft2 Inv Irfft Istft JVP Kron LuFactor Lstsq Map MatrixRank "
    "Pinv Qr Rfft STFT Scan Slogdet Solve SolveTriangular Stft Svd Switch "
    "VectorizedMap VJP WhileLoop"
)
UNKNOWN_OPERATIONS = frozenset(UNKNOWN.split())


class Unknown(Exception):
    """Raised with the path of a call that nothing is known of."""


def count_call(call: Call) -> int:
    """The multiply-adds of a call whose tensors all have known sizes.

    Raises:
        Unknown: if there is no rule, and no way to see inside.
    """
    operation = call.operation
    rule = COUNTS.find(operation)
    if rule is not None:
        found = rule(operation, call.args, call.kwargs, call.outputs)
        if found is None:
            raise Unknown(call.path)
        if isinstance(found, int):
            return found
        return sum(times * _of_part(call, *part) for *part, times in found)
    if is_graph(operation):
        return sum(map(count_call, known_calls(operation, call.inputs)))
    if isinstance(operation, layers.Layer):
        return _of_layer(call)
    package = type(operation).__module__.partition(".")[0]
    if (
        package == "keras"
        and type(operation).__name__ not in UNKNOWN_OPERATIONS
    ):
        return 0
    raise Unknown(call.path)


def _of_layer(call: Call) -> int:
    """What no rule is for: what is inside it."""
    try:
        inside = open_call(call, reads=True)
    except CannotOpen as error:
        parts = parts_of(call.operation)
        if not parts:
            raise Unknown(call.path) from error
        return sum(
            times * _of_part(call, part, call.args[:1]) for part, times in parts
        )
    # Symbols lose sizes in there, such as those of EinsumDense.
    masks = [each for each in inside.worn if is_symbol(each)]
    program = Program([*inside.inputs, *masks], inside.outputs, inside.calls)
    inputs = [*call.inputs, *masks]
    return sum(map(count_call, calls_at(program, inputs)))


def _of_part(call: Call, layer: Any, args: tuple) -> int:
    """The multiply-adds of a layer within that of a call."""
    path = f"{call.path}/{layer.name}"
    args = tree.map_structure(_fresh, args)
    outputs = tree.flatten(outputs_of(layer, args, {}))
    return count_call(Call(path, layer, args, {}, outputs, []))


def _fresh(value: Any) -> Any:
    """A symbolic tensor without a record of what made it."""
    return symbol(value.shape, value.dtype) if is_symbol(value) else value


def symbol(shape, dtype="float32") -> keras.KerasTensor:
    """A symbolic tensor."""
    return keras.KerasTensor(tuple(shape), dtype)


def outputs_of(operation: Any, args: tuple, kwargs: dict) -> Any:
    """The symbolic outputs of a call, without a record of it."""
    outputs = operation.compute_output_spec(*args, **kwargs)
    if isinstance(operation, layers.EinsumDense):
        sizes = letters(operation.equation, [args[0], operation.kernel])
        shape = sizes.pop("...", [])
        shown = _plain(operation.equation).partition("->")[2]
        before, dots, after = shown.partition("...")
        shape = [*map(sizes.get, before), *shape, *map(sizes.get, after)]
        return symbol(shape, outputs.dtype)
    return outputs


def known_calls(model: keras.Model, inputs: list) -> list[Call]:
    """The calls of a Functional or Sequential model at these sizes.

    Nested models are written out.

    Args:
        model: the model.
        inputs: symbolic tensors, in the order of `keras.tree.flatten`.
    """
    starts, results = ends(model)
    return calls_at(
        Program(starts, results, calls_between(starts, results)), inputs
    )


def calls_at(program: Program, inputs: list) -> list[Call]:
    """The calls of a program at these sizes of its inputs."""
    values = dict(zip(program.inputs, inputs, strict=True))
    found = []
    for step in program.steps:
        args, kwargs = step.arguments(values)
        outputs = tree.flatten(outputs_of(step.operation, args, kwargs))
        values.update(zip(step.outputs, outputs, strict=True))
        found.append(Call(step.path, step.operation, args, kwargs, outputs, []))
    return found


def size(tensor: Any) -> int:
    """The number of values of a tensor."""
    return math.prod(tensor.shape)


def positions(layer: Any, tensor: Any) -> int:
    """The number of places of a tensor that has channels."""
    first = getattr(layer, "data_format", None) == "channels_first"
    return size(tensor) // tensor.shape[1 if first else -1]


def channels(layer: Any, tensor: Any) -> int:
    """The number of channels of a tensor."""
    first = getattr(layer, "data_format", None) == "channels_first"
    return tensor.shape[1 if first else -1]


@COUNTS.rule(layers.Dense)
def dense(layer, args, kwargs, outputs):
    """Inputs x units at each position."""
    return size(outputs[0]) * args[0].shape[-1]


@COUNTS.rule(
    layers.Conv1D,
    layers.Conv2D,
    layers.Conv3D,
    GroupedConv2D,
    WeightStandardizedConv2D,
)
def convolution(layer, args, kwargs, outputs):
    """k^2 c / g for each value of the output."""
    fan = channels(layer, args[0]) // layer.groups
    return size(outputs[0]) * math.prod(layer.kernel_size) * fan


@COUNTS.rule(layers.DepthwiseConv1D, layers.DepthwiseConv2D)
def depthwise(layer, args, kwargs, outputs):
    """k^2 for each value of the output."""
    return size(outputs[0]) * math.prod(layer.kernel_size)


@COUNTS.rule(layers.SeparableConv1D, layers.SeparableConv2D)
def separable(layer, args, kwargs, outputs):
    """A depthwise convolution and one of single pixels."""
    middle = channels(layer, args[0]) * layer.depth_multiplier
    each = math.prod(layer.kernel_size) + layer.filters
    return positions(layer, outputs[0]) * middle * each


@COUNTS.rule(
    layers.Conv1DTranspose, layers.Conv2DTranspose, layers.Conv3DTranspose
)
def transposed(layer, args, kwargs, outputs):
    """k^2 f for each value of the input."""
    each = math.prod(layer.kernel_size) * layer.filters
    return size(args[0]) * each


@COUNTS.rule(layers.EinsumDense)
def einsum_dense(layer, args, kwargs, outputs):
    """The sizes of all letters of the equation."""
    return einsum_size(layer.equation, [args[0], layer.kernel])


def _plain(equation: str) -> str:
    return equation.replace(" ", "")


def letters(equation: str, operands: list) -> dict[str, Any]:
    """The size of each letter of an equation; a list for the ellipsis."""
    sizes: dict[str, Any] = {}
    terms = _plain(equation).partition("->")[0].split(",")
    for term, tensor in zip(terms, operands, strict=True):
        shape = list(tensor.shape)
        before, dots, after = term.partition("...")
        end = len(shape) - len(after)
        if dots:
            sizes["..."] = shape[len(before) : end]
        sizes.update(zip(before, shape, strict=False))
        sizes.update(zip(after, shape[end:], strict=False))
    return sizes


def einsum_size(equation: str, operands: list) -> int | None:
    """The product of the sizes of all letters, `None` of three operands."""
    if len(operands) > 2:
        return None  # It depends on the order.
    sizes = letters(equation, operands)
    return math.prod(sizes.pop("...", [])) * math.prod(sizes.values())


@COUNTS.rule(layers.ReversibleEmbedding)
def reversible_embedding(layer, args, kwargs, outputs):
    """A look-up, or the way back: a product with the table."""
    reverse = kwargs.get("reverse", args[1] if len(args) > 1 else False)
    return size(outputs[0]) * args[0].shape[-1] if reverse else 0


@COUNTS.rule(layers.SimpleRNN, layers.GRU, layers.LSTM)
def recurrent(layer, args, kwargs, outputs):
    """Both kernels in each time step."""
    return math.prod(args[0].shape[:2]) * _of_cell(layer.cell)


@COUNTS.rule(layers.RNN)
def any_recurrent(layer, args, kwargs, outputs):
    """Of cells that are known."""
    cells = getattr(layer.cell, "cells", [layer.cell])
    known = (layers.SimpleRNNCell, layers.GRUCell, layers.LSTMCell)
    if not all(type(cell) in known for cell in cells):
        return None
    return math.prod(args[0].shape[:2]) * sum(map(_of_cell, cells))


def _of_cell(cell) -> int:
    return math.prod(cell.kernel.shape) + math.prod(cell.recurrent_kernel.shape)


@COUNTS.rule(layers.ConvLSTM1D, layers.ConvLSTM2D, layers.ConvLSTM3D)
def convolutional_lstm(layer, args, kwargs, outputs):
    """Both kernels at each position in each time step."""
    cell = layer.cell
    steps = 1 if layer.return_sequences else args[0].shape[1]
    places = size(outputs[0]) // layer.filters
    return steps * places * _of_cell(cell)


@COUNTS.rule(layers.Bidirectional)
def bidirectional(layer, args, kwargs, outputs):
    """Both layers."""
    parts = (layer.forward_layer, layer.backward_layer)
    return [(part, args, 1) for part in parts]


@COUNTS.rule(layers.TimeDistributed)
def time_distributed(layer, args, kwargs, outputs):
    """The layer inside, in each time step."""
    batch, steps, *rest = args[0].shape
    return [(layer.layer, (symbol((batch, *rest), args[0].dtype),), steps)]


@COUNTS.rule(layers.SpectralNormalization)
def spectral_normalization(layer, args, kwargs, outputs):
    """The layer inside."""
    return [(layer.layer, args[:1], 1)]


@COUNTS.rule(ReversibleStack)
def reversible_stack(layer, args, kwargs, outputs):
    """Each block, on all of the input or on half of it."""
    shape = list(args[0].shape)
    if layer.coupling == "additive":
        shape[layer.axis] //= 2
    seen = symbol(shape, args[0].dtype)
    return [(block, (seen,), 1) for block in layer.blocks]


@COUNTS.rule(ReversibleCapsule)
def reversible_capsule(layer, args, kwargs, outputs):
    """A routing layer for each kernel of each step."""
    with keras.StatelessScope(initialize_variables=False):
        routing = RoutingCapsules(
            layer.num_capsules,
            layer.capsule_dim,
            layer.num_routing,
            layer.routing,
        )
        routing.build(args[0].shape)
    return [(routing, args, layer.num_steps * len(layer.kernel_names))]


@COUNTS.rule(DenseBlock)
def dense_block(layer, args, kwargs, outputs):
    """Each layer, on what all before it have made."""
    found = []
    for index, part in enumerate(layer.dense_layers):
        shape = list(args[0].shape)
        shape[layer.channel_axis] += index * layer.growth_rate
        found.append((part, (symbol(shape, args[0].dtype),), 1))
    return found


@COUNTS.rule("matmul", "dot")
def product(operation, args, kwargs, outputs):
    """k for each value of the output."""
    return size(outputs[0]) * args[0].shape[-1]


@COUNTS.rule("tensordot", "inner", "outer", "vdot")
def contraction(operation, args, kwargs, outputs):
    """m k n, of tensors of m k, k n and m n values."""
    first, second = tree.flatten((args, kwargs))[:2]
    return math.isqrt(size(first) * size(second) * size(outputs[0]))


@COUNTS.rule("einsum")
def einsum(operation, args, kwargs, outputs):
    """The sizes of all letters of the equation."""
    return einsum_size(operation.subscripts, list(args))


@COUNTS.rule("conv", "depthwise_conv")
def convolved(operation, args, kwargs, outputs):
    """The kernel at each place of the output."""
    inputs, kernel = _inputs_and_kernels(args, kwargs)
    return positions(operation, outputs[0]) * size(kernel)


@COUNTS.rule("separable_conv")
def convolved_twice(operation, args, kwargs, outputs):
    """Both kernels at each place of the output."""
    _, *kernels = _inputs_and_kernels(args, kwargs)
    return positions(operation, outputs[0]) * sum(map(size, kernels))


@COUNTS.rule("conv_transpose")
def convolved_back(operation, args, kwargs, outputs):
    """The kernel at each place of the input."""
    inputs, kernel = _inputs_and_kernels(args, kwargs)
    return positions(operation, inputs) * size(kernel)


def _inputs_and_kernels(args, kwargs) -> list:
    found = tree.flatten((args, kwargs))
    return [each for each in found if hasattr(each, "shape")]


@COUNTS.rule("dot_product_attention")
def attention(operation, args, kwargs, outputs):
    """Queries with keys, and their weights with values."""
    query, key, value = _inputs_and_kernels(args, kwargs)[:3]
    # (batch, positions, heads, size)
    return size(query) * key.shape[1] + size(outputs[0]) * value.shape[1]


def free(operation, args, kwargs, outputs):
    """Nothing is counted."""
    return 0


FREE = (
    "Activation ActivityRegularization AdaptiveAveragePooling1D "
    "AdaptiveAveragePooling2D AdaptiveAveragePooling3D AdaptiveMaxPooling1D "
    "AdaptiveMaxPooling2D AdaptiveMaxPooling3D Add AlphaDropout AugMix "
    "AutoContrast Average AveragePooling1D AveragePooling2D AveragePooling3D "
    "BatchNormalization CategoryEncoding CenterCrop Concatenate "
    "ContrastLimitedAdaptiveHistogramEqualization Cropping1D Cropping2D "
    "Cropping3D CutMix Discretization Dropout ELU Embedding Equalization "
    "Flatten GaussianDropout GaussianNoise GlobalAveragePooling1D "
    "GlobalAveragePooling2D GlobalAveragePooling3D GlobalMaxPooling1D "
    "GlobalMaxPooling2D GlobalMaxPooling3D GroupNormalization HashedCrossing "
    "Hashing Identity InputLayer IntegerLookup LayerNormalization LeakyReLU "
    "Masking MaxNumBoundingBoxes MaxPooling1D MaxPooling2D MaxPooling3D "
    "Maximum Minimum MixUp Multiply Normalization PReLU Permute Pipeline "
    "RMSNormalization RandAugment RandomBrightness RandomColorDegeneration "
    "RandomColorJitter RandomContrast RandomCrop RandomElasticTransform "
    "RandomErasing RandomFlip RandomGaussianBlur RandomGrayscale RandomHue "
    "RandomInvert RandomPerspective RandomPosterization RandomRotation "
    "RandomSaturation RandomSharpness RandomShear RandomTranslation "
    "RandomZoom ReLU RepeatVector Rescaling Reshape Resizing Softmax "
    "Solarization SpatialDropout1D SpatialDropout2D SpatialDropout3D "
    "StringLookup Subtract TextVectorization UnitNormalization UpSampling1D "
    "UpSampling2D UpSampling3D ZeroPadding1D ZeroPadding2D ZeroPadding3D"
)
COUNTS.rule("tfdeep>RandomPadCrop", "tfdeep>SparsePReLU")(free)
# An older Keras lacks some.
COUNTS.rule(*(vars(layers)[n] for n in FREE.split() if hasattr(layers, n)))(
    free
)
