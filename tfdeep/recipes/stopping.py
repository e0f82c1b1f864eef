"""Keras callbacks that end a recipe's training by time or by accuracy."""

from typing import Any

import keras

from tfdeep.recipes.measure import Timer


class StopAfter(keras.callbacks.Callback):
    """Ends training after some CPU seconds, not counting the first step.

    The first step compiles; the budget starts behind it. Training ends at
    the first batch that finds it spent.

    Args:
        cpu_seconds: float, the budget.

    Attributes:
        epochs: float, how often the data was seen, in whole and part epochs.

    Example:
        >>> import numpy as np
        >>> model = keras.Sequential([keras.layers.Dense(1)])
        >>> model.compile("sgd", "mse")
        >>> x, y, stop = np.ones((64, 2)), np.ones((64, 1)), StopAfter(0.0)
        >>> history = model.fit(x, y, epochs=9, verbose=0, callbacks=[stop])
        >>> stop.epochs
        0.5
    """

    def __init__(self, cpu_seconds: float):
        super().__init__()
        self.cpu_seconds = cpu_seconds
        self._batches = 0
        self._timer: Timer | None = None

    @property
    def spent(self) -> float:
        """The CPU seconds since the first step."""
        return 0.0 if self._timer is None else self._timer.cpu

    @property
    def epochs(self) -> float:
        """How often the data was seen."""
        return self._batches / (self.params.get("steps") or self._batches)

    def on_train_batch_end(self, batch, logs=None):
        self._batches += 1
        if self._timer is None:
            self._timer = Timer()
        self._timer.stop()
        self.model.stop_training = self._timer.cpu >= self.cpu_seconds


class StepsToAccuracy(keras.callbacks.Callback):
    """Counts the training steps until an accuracy is reached.

    Training goes on when it is. Where it never is, `steps` is the number of
    all steps taken: a lower bound.

    Args:
        data: images and labels to evaluate on.
        accuracy: float, the accuracy to reach.
        every: integer, evaluate after this many steps.

    Attributes:
        steps: integer, the steps until then, or all steps.
        reached: boolean, whether the accuracy was reached.
    """

    def __init__(self, data: Any, accuracy: float, every: int):
        super().__init__()
        self.data = data
        self.accuracy = accuracy
        self.every = every
        self.steps = 0
        self.reached = False

    def on_train_batch_end(self, batch, logs=None):
        if self.reached:
            return
        self.steps += 1
        if self.steps % self.every == 0:
            self.reached = self._measure() >= self.accuracy

    def _measure(self) -> float:
        import numpy as np
        from keras import ops

        images, labels = self.data
        predicted = ops.convert_to_numpy(self.model(images, training=False))
        return float(np.mean(predicted.argmax(-1) == labels))
