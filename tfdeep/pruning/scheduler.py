"""Channels masked by any criterion at the end of every epoch."""

from collections.abc import Callable
from typing import Any

import keras

from tfdeep.pruning.channels import ChannelGraph
from tfdeep.pruning.plan import PruningPlan


class PruningScheduler(keras.callbacks.Callback):
    """Masks more and more channels while a model is trained.

    At the end of every epoch the channels that count least are set to zero,
    as many as `schedule` says. In the steps between, masked channels train on
    and may come back: what goes is chosen from all of them each time, and
    `fit` ends with a masked model. Afterwards `scheduler.plan.compact(model)`
    makes the small model. `pruned_channels`, how many channels are masked, and
    `channels/LAYER`, how many each layer keeps, go into the logs.

    Reference:
        He et al., "Soft Filter Pruning for Accelerating Deep Convolutional
        Neural Networks", 2018, algorithm 1. Deviation: any criterion, and the
        slices that take a channel are masked as well.

    Args:
        criterion: an object with the method `scores`, such as
            `tfdeep.pruning.Magnitude()`.
        schedule: function of the epoch, from 0, that returns the share of
            the free channels that goes, in [0, 1).
        x: inputs that the criterion needs.
        y: targets that it needs.
        **plan: further arguments of `ChannelGraph.plan`, such as
            `scope="local"`.

    Attributes:
        plan: the `PruningPlan` of the last epoch, `None` before.

    Raises:
        TypeError: if `criterion` has no scores, or `schedule` is no function.
        ValueError: in `fit`, for what `ChannelGraph.plan` refuses.

    Example:
        >>> import keras, numpy as np, tfdeep
        >>> model = keras.Sequential([keras.Input((4,))])
        >>> model.add(keras.layers.Dense(8, name="low"))
        >>> model.add(keras.layers.Dense(1))
        >>> model.compile("sgd", "mse")
        >>> scheduler = tfdeep.callbacks.PruningScheduler(
        ...     tfdeep.pruning.Magnitude(), lambda epoch: 0.25 * epoch)
        >>> x = np.random.default_rng(0).normal(size=(8, 4))
        >>> history = model.fit(x, x[:, :1], epochs=3, verbose=0,
        ...                     callbacks=[scheduler])
        >>> history.history["channels/low"]
        [8.0, 6.0, 4.0]
        >>> scheduler.plan.compact(model).layers[0].units
        4
    """

    def __init__(
        self,
        criterion: Any,
        schedule: Callable[[int], float],
        x: Any = None,
        y: Any = None,
        **plan,
    ):
        super().__init__()
        if not callable(getattr(criterion, "scores", None)):
            raise TypeError(
                "`criterion` must have the method `scores`, such as "
                f"tfdeep.pruning.Magnitude(). Received: {criterion!r}"
            )
        if not callable(schedule):
            raise TypeError(
                "`schedule` must be a function of the epoch that returns a "
                f"ratio. Received: schedule={schedule!r}"
            )
        self.criterion = criterion
        self.schedule = schedule
        self.x = x
        self.y = y
        self.settings = plan
        self.plan: PruningPlan | None = None

    def on_train_begin(self, logs=None):
        self.plan = None

    def on_epoch_end(self, epoch, logs=None):
        graph = ChannelGraph(self.model)
        scores = self.criterion.scores(graph, self.x, self.y)
        ratio = self.schedule(epoch)
        self.plan = graph.plan(scores, ratio=ratio, **self.settings)
        self._mask()
        if logs is not None:
            gone = sum(len(each) for each in self.plan.removed.values())
            logs["pruned_channels"] = float(gone)
            for path, (_, kept) in self.plan.widths.items():
                logs[f"channels/{path}"] = float(kept)

    def on_train_end(self, logs=None):
        self._mask()  # Averages of weights may have taken their place.

    def _mask(self) -> None:
        if self.plan is not None and self.plan.removed:
            self.plan.mask(self.model)
