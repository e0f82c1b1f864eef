"""Relay backpropagation: each loss reaches the layers next to it only."""

from typing import Any

import keras
from keras import ops

from tfdeep.checks import check_whole
from tfdeep.training.deep_supervision import DeepSupervision
from tfdeep.training.head import Head
from tfdeep.training.segments import OUTPUT, Reached, given, overlapping
from tfdeep.training.stages import Division
from tfdeep.untracked import Untracked

Segments = str | dict[str, tuple[str, str]]


@keras.saving.register_keras_serializable(package="tfdeep")
class RelayBackpropagation(DeepSupervision):
    """Trains a deep model by losses that hand over to each other.

    Use it on very deep nets, where what the output's loss sends to the first
    layers is weak and confused: here it stops half way, and the loss of a
    head goes on from there. With losses k on layers a_k, the output's among
    them, the gradient of the weights of a layer j is

        grad_j = sum_k [b_k <= j <= a_k] alpha_k d l_k / d theta_j

    where the segments b_k ... a_k of neighbours overlap. The lowest loss
    reaches the input; the weights of a head get the gradient of its own loss.
    Losses and their logs, metrics, validation, prediction, `set_alphas` and
    `drop_heads` are those of `DeepSupervision`. Where all segments begin at
    the input it is `DeepSupervision`, exactly; with `overlap=0` segments are
    trained apart, as in greedy layer-wise learning.

    A step costs what a plain one does, and for each cut the backward pass
    through the layers of the overlap once more, by activations alone.

    Losses that layers add, and batch entropies, reach down to the next cut.
    Penalties on weights belong to all weights. Under `tf.distribute` each
    replica cuts off at gamma by its own part of the batch.

    Reference:
        Shen, Lin, Huang, "Relay Backpropagation for Effective Learning of
        Deep Convolutional Neural Networks", 2016. Deviations: segments are
        counted in layers with a kernel, where the paper has the layers
        between poolings; give them as `segments` to have these.

    Args:
        model: a `keras.Model`: Functional, Sequential, or a subclass that
            uses Keras layers and `keras.ops`.
        heads: a dictionary from a layer's name, or its path in nested models
            (`"block/conv"`), to a `Head`: the losses beside the output's.
        segments: `"auto"`, or a dictionary from each head's layer, and
            `"output"`, to the names of the first and the last layer that the
            loss reaches. It ends where the loss is.
        overlap: integer of at least 0, for `"auto"`: a segment begins so
            many layers below the end of the one before, that end included.
            Layers and blocks count whose weights have two axes or more.
        **kwargs: `name` of the wrapper.

    Call arguments:
        inputs: what the model takes.
        training: boolean; in training the taps are returned beside the
            outputs, for `compute_loss`.

    Input shape:
        That of the model.

    Output shape:
        That of the model.

    Raises:
        TypeError: if an argument is of another kind.
        ValueError: if a layer is unknown or ambiguous, the segments leave
            layers without a gradient, or part two calls of shared weights.

    Example:
        >>> import keras, numpy as np, tfdeep
        >>> model = keras.Sequential([keras.Input((8,))])
        >>> for index in range(6):
        ...     model.add(keras.layers.Dense(8, "relu", name=f"d{index}"))
        >>> model.add(keras.layers.Dense(3, name="scores"))
        >>> wrapper = tfdeep.training.RelayBackpropagation(
        ...     model, {"d2": tfdeep.training.Head()}
        ... )
        >>> print(tfdeep.training.describe_reach(wrapper))
        layer   d2  output
        d0      x   .
        d1      x   .
        d2      x   x
        d3      .   x
        d4      .   x
        d5      .   x
        scores  .   x
        >>> wrapper.compile("sgd", "mse")
        >>> x = np.random.default_rng(0).normal(size=(6, 8))
        >>> history = wrapper.fit(x, np.eye(3)[[0, 1, 2] * 2], verbose=0)
        >>> sorted(history.history)
        ['head_loss/d2', 'loss', 'task_loss']
    """

    stops_gradients = True

    def __init__(
        self,
        model: keras.Model,
        heads: dict[str, Head],
        segments: Segments = "auto",
        overlap: int = 1,
        **kwargs,
    ):
        check_whole("overlap", overlap, least=0)
        if segments != "auto" and not isinstance(segments, dict):
            raise TypeError(
                "`segments` must be 'auto' or a dictionary from losses to "
                "their first and last layers. Received: "
                f"segments={segments!r}. Pass for example "
                "{'conv_3': ('conv_1', 'conv_3'), 'output': ('conv_3', 'dense')}."
            )
        self._segments_wanted = Untracked(segments)
        self.overlap = int(overlap)
        self._reached = Untracked()
        super().__init__(model, heads, **kwargs)

    def prepare(self, interior):
        super().prepare(interior)
        program = interior.program()
        segments = self._segments_wanted.value
        if segments == "auto":
            found = overlapping(program, self.names, self.overlap)
        else:
            found = given(program, interior.calls, self.names, segments)
        reached = Reached(program, found)
        reached.check()
        self._reached = Untracked(reached)

    @property
    def reached(self) -> Any:
        """Which layers each loss reaches."""
        return self._reached.value

    def division(self):
        if not self.reached or not self.reached.cuts():
            return None
        losses = tuple(
            (each.loss, each.first, each.last)
            for each in self.reached.segments
            if each.loss != OUTPUT
        )
        return Division(self.reached.cuts(), losses)

    def training_loss(self, loss, tapped, y, sample_weight):
        if tapped.handover is None:
            return super().training_loss(loss, tapped, y, sample_weight)
        passing = tapped.handover.passing
        alphas = self.weights_now()
        terms, gradients = [], {}
        for index, each in enumerate(self._companions()):
            arguments = tapped.taps[each.path], y, sample_weight
            if each.path not in passing:
                terms.append(each.objective(*arguments))
                continue
            *both, gradient = each.objective_and_gradient(*arguments)
            terms.append(tuple(both))
            gradients[each.path] = alphas[index] * gradient
        loss, names, signals = self.with_terms(loss, tapped, terms)
        passed = tapped.handover.surrogate(gradients)
        return loss + ops.cast(passed, loss.dtype), names, signals

    def get_config(self):
        return {
            **super().get_config(),
            "segments": self._segments_wanted.value,
            "overlap": self.overlap,
        }
