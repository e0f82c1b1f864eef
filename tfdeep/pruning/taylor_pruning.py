"""Taylor pruning: channels are masked while a model is trained."""

from collections.abc import Iterable, Mapping
from typing import Any

import keras
import numpy as np
from keras import ops

from tfdeep.checks import check_choice, check_positive, check_probability
from tfdeep.keras_internals import averages_of
from tfdeep.optimizers import OptimizerWrapper
from tfdeep.pruning.layout import FORMS, Layout
from tfdeep.pruning.plan import PruningPlan


def slopes(weight, gradient, axis: int, form: str):
    """What a weight adds to dL / dz of each channel, or to its score.

    "batch_norm"   w g of scale and shift, which are added up and squared
    "weight"       sum over the filter of (w g)^2
    """
    product = weight * gradient
    if form == "batch_norm":
        return product
    axes = [each for each in range(len(product.shape)) if each != axis]
    return ops.sum(ops.square(product), axes)


def remaining(scores, kept, owner: np.ndarray, count, most: int):
    """Which channels remain where `count` of them shall have gone.

        threshold = the `count`-th smallest score, those that are gone among
        them with a score of 0; what is not above it goes

    In each group the best channel stays.

    Args:
        scores: tensor of shape `(channels,)`, from 0.
        kept: 1 for each channel that is there, else 0.
        owner: integers, the number of the group of each channel.
        count: how many shall have gone, a scalar tensor of integers.
        most: how many can have gone: all but one of each group.
    """
    groups = int(owner[-1]) + 1
    alive = ops.where(kept > 0, scores, -1.0)
    best = ops.take(ops.segment_max(alive, owner, groups), owner)
    # Of several that are equal the last one.
    places = np.arange(len(owner), dtype="int32")
    place = ops.where(alive >= best, places, -1)
    last = ops.take(ops.segment_max(place, owner, groups), owner)
    stays = ops.equal(places, last)
    ordered = ops.where(stays, np.inf, scores * kept)
    threshold = ops.take(ops.sort(ordered), ops.minimum(count, most) - 1)
    return ops.where(ordered <= threshold, 0.0, kept)


@keras.saving.register_keras_serializable(package="tfdeep")
class TaylorPruning(OptimizerWrapper):
    """An optimizer that masks the channels which the loss needs least.

    Use it to fine-tune a trained model while it loses channels: all of it
    happens in the compiled step of a plain `fit`. Afterwards
    `optimizer.plan(model).compact(model)` makes the small model. Scores are
    squared changes of the loss, to first order, when a channel is removed:

        "batch_norm"   s = (sum (gamma g_gamma + beta g_beta))^2
        "weight"       s = sum over the filter of (w g_w)^2

    with the gradient g of a mini-batch, and the weights before its update.
    The sum in the first is over all normalizations that the channel goes
    through. Every `frequency` updates

        average = momentum * average + (1 - momentum) * mean of s since then

    (the first time the mean alone), and the channels with the lowest averages
    go, by one threshold for all layers; the best channel of each group stays.
    Slices of channels that are gone are set to zero after every update, and in
    the averages that the optimizer inside keeps of weights.

    In a `PrivateModel` only gradients that are clipped and noised are seen, so
    that scores and plan are as private as the weights; with form `"weight"`,
    as there is no batch normalization. Noise adds about its variance times
    sum w^2 to the score of a filter.

    With accumulated gradients each batch has scores of its own, and
    `frequency` counts updates. A penalty in the loss is part of g.

    Reference:
        Molchanov et al., "Importance Estimation for Neural Network Pruning",
        2019, eqs. 8 and 9 and section 4.1. Deviations: beta counts; a channel
        that goes through several normalizations has one score, the square of
        a sum; the first mask is made after `frequency` updates, not one more;
        momentum is not cleared at the end.

    Args:
        optimizer: a Keras optimizer, or its name.
        model: the built model that it trains, a wrapper where there is one
            around it. Channels that can go are those of `ChannelGraph(model)`
            whose weights all train.
        channels: integer from 0, how many channels go in all. Ties may take
            more.
        channels_per_step: positive integer, how many go at a time.
        frequency: positive integer, updates from one time to the next.
        momentum: float in [0, 1].
        form: `"batch_norm"` for channels behind a batch normalization, or
            `"weight"`, which sees channels of all convolutions and dense
            layers.
        exclude: layers, paths or `fnmatch` patterns of paths whose output
            keeps all channels.
        **kwargs: `name`.

    Attributes:
        enabled: a boolean variable: while it is `False`, no scores are taken
            and nothing goes; what is gone stays so.

    Raises:
        TypeError: if `model` is no `keras.Model`.
        ValueError: for values outside these ranges, a model without channels
            that can go, or, in `build`, for other variables than the
            trainable ones of the model.

    Example:
        >>> import keras, numpy as np, tfdeep
        >>> model = keras.Sequential([keras.Input((4,))])
        >>> model.add(keras.layers.Dense(8, name="low"))
        >>> model.add(keras.layers.BatchNormalization())
        >>> model.add(keras.layers.Dense(1))
        >>> optimizer = tfdeep.pruning.TaylorPruning(
        ...     keras.optimizers.SGD(0.1), model, channels=4,
        ...     channels_per_step=2, frequency=1)
        >>> model.compile(optimizer, "mse")
        >>> x = np.random.default_rng(0).normal(size=(8, 4))
        >>> history = model.fit(x, x[:, :1], batch_size=2, verbose=0)
        >>> small = optimizer.plan(model).compact(model)
        >>> small.layers[0].units
        4
    """

    def __init__(
        self,
        optimizer,
        model: Any,
        *,
        channels: int,
        channels_per_step: int = 100,
        frequency: int = 30,
        momentum: float = 0.9,
        form: str = "batch_norm",
        exclude: Iterable = (),
        **kwargs,
    ):
        super().__init__(optimizer, **kwargs)
        check_choice("form", form, FORMS)
        check_positive("channels_per_step", channels_per_step)
        check_positive("frequency", frequency)
        check_probability("momentum", momentum)
        # A configuration has the layout in the place of the model.
        self.layout = (
            Layout(dict(model))
            if isinstance(model, Mapping)
            else Layout.of(model, form, exclude)
        )
        self.most = self.layout.channels - len(self.layout.groups)
        _check_channels(channels, self.most)
        self.channels = channels
        self.channels_per_step = channels_per_step
        self.frequency = frequency
        self.momentum = momentum
        self.form = form
        self.enabled = self.add_variable((), "ones", "bool", name="enabled")

    def build(self, variables):
        if self.built:
            return
        variables = list(variables)
        self.layout.check(variables)
        super().build(variables)
        shape = (self.layout.channels,)
        self.kept = self.add_variable(shape, "ones", name="kept")
        self.average = self.add_variable(shape, "zeros", name="average")
        self.total = self.add_variable(shape, "zeros", name="total")
        self.batches = self.add_variable((), "zeros", name="batches")
        self.updates = self.add_variable((), "zeros", name="updates")

    def fits(self, variables) -> bool:
        return self.layout.fits(list(variables))

    def before_update(self, gradients, variables):
        places = {place for place, _ in self.layout.scored}
        found = self.summed(
            [g if n in places else None for n, g in enumerate(gradients)]
        )
        values = {
            (place, axis): slopes(
                ops.cast(variables[place], self.total.dtype),
                self._unscaled(found[place], variables[place]),
                axis,
                self.form,
            )
            for place, axis in self.layout.scored
        }
        scores = self.layout.per_channel(values)
        if self.form == "batch_norm":
            scores = ops.square(scores)
        on = ops.cast(self.enabled, self.total.dtype)
        self.total.assign(self.total + on * scores)
        self.batches.assign(self.batches + on)
        return gradients

    def _unscaled(self, gradient, variable):
        """A gradient of the loss itself, 0 where there is none."""
        if gradient is None:
            return ops.zeros(variable.shape, self.total.dtype)
        gradient = ops.cast(gradient, self.total.dtype)
        scale = self.loss_scale_factor
        return gradient / scale if scale else gradient

    def after_update(self, variables):
        on = ops.cast(self.enabled, self.updates.dtype)
        updates = self.updates + on
        gone = self.layout.channels - ops.sum(self.kept)
        due = ops.logical_and(
            ops.logical_and(self.enabled, updates >= self.frequency),
            gone < min(self.channels, self.most),
        )
        state = [
            ops.convert_to_tensor(each)
            for each in (self.kept, self.average, self.total, self.batches)
        ]
        state = ops.cond(
            due, lambda: self._pruned(gone, *state), lambda: tuple(state)
        )
        kept, average, total, batches = state
        self.kept.assign(kept)
        self.average.assign(average)
        self.total.assign(total)
        self.batches.assign(batches)
        self.updates.assign(ops.where(due, 0.0, updates))
        self._mask(variables, kept)

    def _pruned(self, gone, kept, average, total, batches) -> tuple:
        """What is kept afterwards, with averages; sums begin from zero."""
        new = total / ops.maximum(batches, 1.0)
        mixed = self.momentum * average + (1 - self.momentum) * new
        average = ops.where(gone > 0, mixed, new) * kept
        count = ops.minimum(gone + self.channels_per_step, self.channels)
        kept = remaining(
            average,
            kept,
            self.layout.owner,
            ops.cast(count, "int32"),
            self.most,
        )
        zero = ops.zeros_like(batches)
        return kept, average * kept, ops.zeros_like(total), zero

    def _mask(self, variables, kept) -> None:
        """Set what belongs to channels that are gone to zero."""
        factors = self.layout.factors(kept)
        averages = averages_of(self.inner_optimizer) if self.use_ema else []
        for place, factor in factors.items():
            for kind in [variables, averages] if averages else [variables]:
                each = kind[place]
                each.assign(each * ops.cast(factor, each.dtype))

    def finalize_variable_values(self, var_list):
        super().finalize_variable_values(var_list)
        if self.use_ema:  # Weights are their averages now.
            self._mask(list(var_list), ops.convert_to_tensor(self.kept))

    def widths(self) -> dict[str, int]:
        """How many channels each group has now, by its name."""
        return self.layout.widths(self._kept())

    def plan(self, model: keras.Model) -> PruningPlan:
        """The plan of the channels that are gone.

        Args:
            model: the model that was trained, or a copy of it.

        Returns:
            A `PruningPlan`; `plan.compact(model)` makes the small model, with
            the optimizer that is inside.

        Raises:
            ValueError: if the model has other channels.
        """
        return self.layout.plan(model, self._kept())

    def _kept(self) -> np.ndarray:
        if not self.built:
            return np.ones(self.layout.channels)
        return ops.convert_to_numpy(self.kept)

    def get_config(self):
        return {
            **super().get_config(),
            "model": self.layout.content,
            "channels": self.channels,
            "channels_per_step": self.channels_per_step,
            "frequency": self.frequency,
            "momentum": self.momentum,
            "form": self.form,
        }


def _check_channels(channels: Any, most: int) -> None:
    whole = isinstance(channels, int) and not isinstance(channels, bool)
    if not whole or not 0 <= channels <= most:
        raise ValueError(
            f"`channels` must be an integer from 0 to {most}, all channels "
            f"that can go but one of each group. Received: channels={channels!r}"
        )
