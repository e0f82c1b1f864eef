"""Which rule a layer gets."""

import keras
from keras import layers

from tfdeep.keras_internals import layers_of
from tfdeep.layers.grouped_conv import GroupedConv2D
from tfdeep.layers.sparse_prelu import SparsePReLU
from tfdeep.layers.weight_standardized_conv import WeightStandardizedConv2D
from tfdeep.masks import mask_of
from tfdeep.privacy.per_example.convolution import (
    ConvolutionRule,
    DepthwiseRule,
    SeparableRule,
    TransposedRule,
)
from tfdeep.privacy.per_example.dense import DenseRule
from tfdeep.privacy.per_example.einsum import EinsumDenseRule
from tfdeep.privacy.per_example.embedding import EmbeddingRule
from tfdeep.privacy.per_example.mapped import MappedRule
from tfdeep.privacy.per_example.normalization import (
    GroupNormalizationRule,
    LayerNormalizationRule,
    RMSNormalizationRule,
)
from tfdeep.privacy.per_example.rules import RULES, Rule
from tfdeep.privacy.per_example.slopes import SlopesRule
from tfdeep.privacy.per_example.standardized import (
    StandardizedConvolutionRule,
)

RULES.rule(layers.Dense)(DenseRule)
RULES.rule(layers.EinsumDense)(EinsumDenseRule)
RULES.rule(layers.Embedding)(EmbeddingRule)
RULES.rule(layers.Conv1D, layers.Conv2D, layers.Conv3D)(ConvolutionRule)
RULES.rule(GroupedConv2D)(ConvolutionRule)
RULES.rule(WeightStandardizedConv2D)(StandardizedConvolutionRule)
RULES.rule(layers.DepthwiseConv1D, layers.DepthwiseConv2D)(DepthwiseRule)
RULES.rule(layers.SeparableConv1D, layers.SeparableConv2D)(SeparableRule)
RULES.rule(
    layers.Conv1DTranspose, layers.Conv2DTranspose, layers.Conv3DTranspose
)(TransposedRule)
RULES.rule(layers.LayerNormalization)(LayerNormalizationRule)
RULES.rule(layers.GroupNormalization)(GroupNormalizationRule)
RULES.rule(layers.RMSNormalization)(RMSNormalizationRule)
RULES.rule(SparsePReLU)(SlopesRule)


def rule_for(call) -> Rule | None:
    """The rule of one call, `None` if only the mapped one fits."""
    layer = call.operation
    kind = RULES.find(layer)
    if kind is None or _changed(layer):
        return None
    rule = kind(layer)
    return rule if rule.fits(call.args, call.kwargs) else None


def mapped_rule_for(call) -> Rule | None:
    """The rule that runs the layer again; `None` if it draws numbers."""
    layer = call.operation
    if draws_numbers(layer) or any(
        mask_of(each) is not None for each in call.inputs
    ):
        return None
    return MappedRule(layer)


def draws_numbers(layer) -> bool:
    """Whether a layer in training mode uses a stream of random numbers."""
    weights = {id(weight) for weight in layer.weights}
    return any(
        id(variable) not in weights
        for part in layers_of(layer)
        if not _never_drops(part)
        for variable in _streams(part)
    )


def _streams(layer) -> list:
    """The states of a layer's own streams, not of those of its parts."""
    inner = {
        id(variable)
        for part in layers_of(layer)[1:]
        for variable in part.non_trainable_variables
    }
    return [v for v in layer.non_trainable_variables if id(v) not in inner]


def _never_drops(layer) -> bool:
    """Whether it is a recurrent cell, or a layer of one, without dropout."""
    cell = getattr(layer, "cell", layer)
    rates = [
        getattr(cell, name, None) for name in ("dropout", "recurrent_dropout")
    ]
    return rates == [0.0, 0.0]


def own_variables(layer) -> list:
    """The variables of a layer that are not those of a layer within it."""
    inner = {
        id(variable)
        for part in layers_of(layer)[1:]
        for variable in part.variables
    }
    return [v for v in layer.variables if id(v) not in inner]


def _changed(layer: keras.Layer) -> bool:
    """Whether a layer computes with other weights than it says."""
    return bool(
        getattr(layer, "lora_enabled", False)
        or getattr(layer, "quantization_mode", None)
    )
