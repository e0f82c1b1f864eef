"""When Taylor pruning takes channels, epoch by epoch."""

from typing import Any

import keras
import numpy as np

from tfdeep.checks import check_number, check_whole
from tfdeep.pruning.taylor_pruning import TaylorPruning


class TaylorPruningScheduler(keras.callbacks.Callback):
    """Sets in which epochs a `TaylorPruning` optimizer takes channels.

    It waits while the model does badly, too: an epoch takes no channels where
    the mean loss of the epochs since the last channel went is above
    `max_loss`. After every epoch `pruned_channels`, how many channels are
    gone, and `channels/GROUP`, how many each group has left, go into the logs.

    Reference:
        Molchanov et al., "Importance Estimation for Neural Network Pruning",
        2019, section 4. Deviation: the authors' code looks at the mean loss
        before each mask, and not by epoch.

    Args:
        start: integer from 0, the first epoch that takes channels.
        stop: optional integer, the epoch before which that ends.
        max_loss: optional float.

    Attributes:
        history: list of a dict for each epoch with `epoch`, `enabled`,
            `pruned_channels` and `widths`.

    Raises:
        ValueError: for values outside these ranges, or, in `fit`, if the model
            is not compiled with a `TaylorPruning`.

    Example:
        >>> import keras, numpy as np, tfdeep
        >>> model = keras.Sequential([keras.Input((4,))])
        >>> model.add(keras.layers.Dense(8, name="low"))
        >>> model.add(keras.layers.Dense(1))
        >>> model.compile(tfdeep.pruning.TaylorPruning(
        ...     "sgd", model, channels=2, channels_per_step=1, frequency=1,
        ...     form="weight"), "mse")
        >>> scheduler = tfdeep.callbacks.TaylorPruningScheduler(start=1)
        >>> x = np.random.default_rng(0).normal(size=(8, 4))
        >>> history = model.fit(x, x[:, :1], epochs=3, verbose=0,
        ...                     callbacks=[scheduler])
        >>> [entry["widths"]["low"] for entry in scheduler.history]
        [8, 7, 6]
    """

    def __init__(
        self,
        start: int = 0,
        stop: int | None = None,
        max_loss: float | None = None,
    ):
        super().__init__()
        check_whole("start", start, 0)
        if stop is not None:
            check_whole("stop", stop, start)
        if max_loss is not None:
            check_number("max_loss", max_loss)
        self.start = start
        self.stop = stop
        self.max_loss = max_loss
        self.history: list[dict[str, Any]] = []
        self._losses: list[float] = []
        self._gone = 0

    @property
    def optimizer(self) -> TaylorPruning:
        """The optimizer of the model that takes channels.

        Raises:
            ValueError: if there is none.
        """
        found = getattr(self.model, "optimizer", None)
        while found is not None and not isinstance(found, TaylorPruning):
            found = getattr(found, "inner_optimizer", None)
        if found is None:
            raise ValueError(
                "The model must be compiled with a TaylorPruning optimizer. "
                f"Received: model={self.model.name!r} with "
                f"{type(getattr(self.model, 'optimizer', None)).__name__}"
            )
        return found

    def on_train_begin(self, logs=None):
        self.history = []
        self._losses = []
        self._gone = self._count()

    def on_epoch_begin(self, epoch, logs=None):
        stops = self.stop is not None and epoch >= self.stop
        bad = (
            self.max_loss is not None
            and bool(self._losses)
            and not np.mean(self._losses) <= self.max_loss
        )
        enabled = epoch >= self.start and not stops and not bad
        self.optimizer.enabled.assign(enabled)

    def on_epoch_end(self, epoch, logs=None):
        gone, widths = self._count(), self.optimizer.widths()
        if gone != self._gone:
            self._gone, self._losses = gone, []
        if logs is not None:
            if "loss" in logs:
                self._losses.append(float(logs["loss"]))
            logs["pruned_channels"] = float(gone)
            named = widths.items()
            logs.update({f"channels/{name}": float(n) for name, n in named})
        self.history.append(
            {
                "epoch": epoch,
                "enabled": bool(np.array(self.optimizer.enabled)),
                "pruned_channels": gone,
                "widths": widths,
            }
        )

    def _count(self) -> int:
        """How many channels are gone."""
        optimizer = self.optimizer
        return optimizer.layout.channels - sum(optimizer.widths().values())
