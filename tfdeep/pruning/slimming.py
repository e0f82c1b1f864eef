"""Network slimming: scales of normalizations that training pulls to zero."""

from collections.abc import Iterable
from typing import Any

import keras
from keras import ops

from tfdeep.checks import check_choice, check_number
from tfdeep.graph import graph_of
from tfdeep.graph.select import meant
from tfdeep.keras_internals import layers_of
from tfdeep.pruning.channels import ChannelGraph
from tfdeep.pruning.compact import compact
from tfdeep.pruning.criteria import BatchNormScale
from tfdeep.pruning.plan import gone_in
from tfdeep.pruning.selection import SelectionGraph
from tfdeep.pruning.slimming_monitor import SlimmingMonitor
from tfdeep.pruning.slimming_penalty import (
    SlimmingPenalty,
    is_attached,
    own_regularizer,
    regularize,
)

SELECTIONS = ("group", "channel")


class Slimming:
    """Trains a net in which many channels end with a scale of zero.

    Use it to make a conv net with batch normalization smaller while it is
    trained from scratch: attach, train in a plain `fit`, `prune`, and
    fine-tune. The gradient of each scale gamma becomes

        dL / dgamma + strength * sign(gamma),  sign(0) = 0

    What the optimizer makes of it, momentum for one, acts on all of it. The
    loss that `fit` reports is that of the data.

    A penalty moves a scale by about `strength * sum(learning rates) / (1 -
    momentum)` from where it starts. Where that is less than the start, few
    scales become small, and pruning does harm: `monitor` warns of it. With
    weight decay on the scales less is enough.

    Reference:
        Liu et al., "Learning Efficient Convolutional Networks through
        Network Slimming", 2017, eq. 1. The authors' code removes one channel
        more than `prune`, whose count is that of `ChannelGraph.plan`, and all
        with a scale equal to the largest that goes; and it can empty a layer.

    Args:
        strength: float from 0. The paper's is 1e-4 for VGG, and 1e-5 for
            ResNet and DenseNet.
        gamma: optional float, what scales are set to in `attach`; the paper
            starts from 0.5.
        layers: optional list of layers, their paths, or `fnmatch` patterns of
            paths: the batch normalizations that are meant, those within
            layers among them. All by default.

    Raises:
        ValueError: for values outside these ranges.

    Example:
        >>> import keras, tfdeep
        >>> model = keras.Sequential([keras.Input((8, 8, 3))])
        >>> model.add(keras.layers.Conv2D(16, 3, use_bias=False))
        >>> model.add(keras.layers.BatchNormalization())
        >>> model.add(keras.layers.ReLU())
        >>> model.add(keras.layers.GlobalAveragePooling2D())
        >>> model.add(keras.layers.Dense(10))
        >>> slimming = tfdeep.pruning.Slimming(1e-4, gamma=0.5)
        >>> slimming.attach(model)  # Compile and fit it now.
        >>> small = slimming.prune(model, 0.5)
        >>> small.layers[0].filters
        8
    """

    def __init__(
        self,
        strength: float = 1e-4,
        *,
        gamma: float | None = None,
        layers: Iterable | None = None,
    ):
        check_number("strength", strength, 0.0, example=1e-4)
        if gamma is not None:
            check_number("gamma", gamma, example=0.5)
        if isinstance(layers, (str, keras.layers.Layer)):
            raise TypeError(
                "`layers` must be a list of layers, paths or patterns. "
                f"Received: layers={layers!r}. Put a single one in a list."
            )
        self.strength = strength
        self.gamma = gamma
        self.layers = None if layers is None else list(layers)

    def attach(self, model: keras.Model) -> None:
        """Pull the scales of a model to zero while it is trained, in place.

        A model that was fitted before makes its training step again. The
        penalty is saved with the model, whose file needs this package until
        `detach`. Attaching again sets the strength. Attach to the model that
        is fitted: a wrapper around it, where there is one.

        Args:
            model: a built model.

        Raises:
            TypeError: if it is no `keras.Model`.
            ValueError: if it is not built, or no scale of it trains.
        """
        normalizations = self.normalizations(model)
        trained = {id(v) for v in model.trainable_variables}
        normalizations = [b for b in normalizations if id(b.gamma) in trained]
        if not normalizations:
            raise ValueError(
                "`model` must have BatchNormalization layers whose scale "
                f"trains. Received: model={model.name!r} without. Make them "
                "with scale=True, and do not freeze them"
            )
        for layer in normalizations:
            penalty = SlimmingPenalty(
                self.strength, own_regularizer(layer.gamma)
            )
            regularize(layer, penalty)
            if self.gamma is not None:
                layer.gamma.assign(ops.full(layer.gamma.shape, self.gamma))
        model.train_function = None  # It is made from the losses once.

    def detach(self, model: keras.Model) -> None:
        """Give the scales back the regularizers that they had, in place.

        Args:
            model: the model that was attached to, or one that was made of it
                by loading or cloning.

        Raises:
            TypeError: if it is no `keras.Model`.
        """
        _check_model(model)
        for layer in layers_of(model):
            gamma = getattr(layer, "gamma", None)
            if is_attached(gamma):
                regularize(layer, own_regularizer(gamma))
        model.train_function = None

    def monitor(self) -> SlimmingMonitor:
        """A callback that watches how many scales are small.

        It logs `small_gammas`, the share of scales below 0.01, after every
        epoch, and warns after training where it is less than a fifth.
        """
        return SlimmingMonitor()

    def prune(
        self, model: keras.Model, ratio: float, *, selection: str = "group"
    ) -> keras.Model:
        """The model without the channels of the smallest scales.

        Args:
            model: the trained model, which stays as it is.
            ratio: float in [0, 1), the share of the channels with a scale
                that goes, by one threshold for all layers.
            selection: `"group"`: channels that are added up go together, by
                the mean of their scales. `"channel"`: as in the paper for
                pre-activation nets and DenseNets, each normalization that
                shares its input with others chooses channels for itself, and
                its input keeps its width.

        Returns:
            A `keras.Model` of plain Keras layers without the penalty,
            compiled if the model is. To prune in several passes, attach to
            it, train, and prune again.

        Raises:
            TypeError: if `model` is no `keras.Model`.
            ValueError: for arguments outside these ranges, or if no channel
                that can go has a scale.
        """
        check_choice("selection", selection, SELECTIONS)
        normalizations = self.normalizations(model)
        graph = (
            SelectionGraph(model, normalizations)
            if selection == "channel"
            else ChannelGraph(model)
        )
        chosen = {id(layer.gamma) for layer in normalizations}
        named = {
            group.name
            for group in graph.free
            if any(id(member.variable) in chosen for member in group.members)
        }
        scores = BatchNormScale().scores(graph)
        meant = {name: s for name, s in scores.items() if name in named}
        plan = graph.plan(meant, ratio=ratio)
        return compact(graph, gone_in(graph, plan.removed))

    def normalizations(self, model: keras.Model) -> list:
        """The batch normalizations with a scale that are meant, in order.

        Args:
            model: a built model.

        Raises:
            TypeError: if it is no `keras.Model`.
            ValueError: if it is not built, or its scales are not weights of
                its own.
        """
        _check_model(model)
        holders = [model]
        if self.layers is not None:
            calls = graph_of(model).calls
            holders = [
                call.operation for p in self.layers for call in meant(calls, p)
            ]
        parts = {id(p): p for held in holders for p in parts_of(held)}
        found = [layer for layer in parts.values() if has_scale(layer)]
        known = {id(v) for v in model.variables}
        for layer in found:
            if layer.gamma is None or id(layer.gamma) not in known:
                raise ValueError(
                    "`model` must be built, and have its scales as weights of "
                    f"their own. Received: model={model.name!r} with "
                    f"{layer.name!r}. Call it once, and open Repeat layers "
                    "with tfdeep.models.unstack"
                )
        return found


def _check_model(model: Any) -> None:
    if not isinstance(model, keras.Model):
        raise TypeError(
            f"`model` must be a keras.Model. Received: {model!r} of type "
            f"{type(model).__name__}"
        )


def parts_of(operation: Any) -> list:
    """The layers within a layer, none of an operation."""
    is_layer = isinstance(operation, keras.layers.Layer)
    return layers_of(operation) if is_layer else []


def has_scale(layer: Any) -> bool:
    """Whether it is a batch normalization with a gamma."""
    return isinstance(layer, keras.layers.BatchNormalization) and layer.scale
