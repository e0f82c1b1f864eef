"""Keras callbacks of the recipes: the time and the progress of a `fit`."""

import math
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from tfdeep.recipes.measure import Timer


class EpochTimer(keras.callbacks.Callback):
    """Records wall and CPU seconds of each epoch's training.

    Validation inside `fit` is not counted. The means leave out the first
    epochs, which compile the training step.

    Args:
        skip: integer, number of epochs that the means leave out.

    Example:
        >>> import numpy as np
        >>> model = keras.Sequential([keras.layers.Dense(1)])
        >>> model.compile("sgd", "mse")
        >>> timer, x, y = EpochTimer(), np.ones((8, 2)), np.ones((8, 1))
        >>> history = model.fit(x, y, epochs=3, verbose=0, callbacks=[timer])
        >>> len(timer.wall_seconds), timer.cpu > 0.0
        (3, True)
    """

    def __init__(self, skip: int = 1):
        super().__init__()
        self.skip = skip
        self.wall_seconds: list[float] = []
        self.cpu_seconds: list[float] = []
        self._timer: Timer | None = None

    @property
    def wall(self) -> float:
        """Mean wall seconds of the counted epochs, NaN if there is none."""
        return _mean(self.wall_seconds[self.skip :])

    @property
    def cpu(self) -> float:
        """Mean CPU seconds of the counted epochs, NaN if there is none."""
        return _mean(self.cpu_seconds[self.skip :])

    def on_epoch_begin(self, epoch, logs=None):
        self._timer = Timer()

    def on_test_begin(self, logs=None):
        self._stop()

    def on_epoch_end(self, epoch, logs=None):
        self._stop()

    def _stop(self) -> None:
        """Close the running epoch, once."""
        if self._timer is not None:
            self._timer.stop()
            self.wall_seconds.append(self._timer.wall)
            self.cpu_seconds.append(self._timer.cpu)
            self._timer = None


class EpochProgress(keras.callbacks.Callback):
    """Tells how far a `fit` has come, and where it may be interrupted.

    Args:
        report: function called with the number of epochs done (a fraction
            within an epoch), the number of all and the newest logs.
        check: function called after every batch, which may raise.
    """

    def __init__(
        self,
        report: Callable[[float, int, dict[str, Any]], None],
        check: Callable[[], None],
    ):
        super().__init__()
        self._report = report
        self._check = check
        self._epoch = 0

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        self._check()
        steps = self.params.get("steps")
        if steps:
            # The last batch is reported with the epoch.
            done = min((batch + 1) / steps, 0.99)
            self._report(self._epoch + done, self.params["epochs"], {})

    def on_test_batch_end(self, batch, logs=None):
        self._check()

    def on_epoch_end(self, epoch, logs=None):
        self._report(epoch + 1, self.params["epochs"], dict(logs or {}))


def _mean(values: list[float]) -> float:
    """Return the mean, NaN of nothing."""
    return float(np.mean(values)) if values else math.nan
