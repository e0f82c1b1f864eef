"""What `fit` of a wrapper does besides: checks, logs of an epoch, NaN."""

import inspect
import math
import warnings
from collections.abc import Callable
from typing import Any

import keras
from keras import tree

from tfdeep import backend
from tfdeep.fitting import DEFAULT_BATCH_SIZE, callbacks_with
from tfdeep.training.streams import checked


class Watch(keras.callbacks.Callback):
    """Adds a wrapper's logs of the epoch, and names where a NaN began.

    Args:
        epochs: how many epochs `fit` ends with.
    """

    def __init__(self, epochs: int):
        super().__init__()
        self.epochs = epochs
        self._logs: dict[str, float] | None = None
        self._begun = False

    def on_epoch_begin(self, epoch, logs=None):
        self._logs = None
        self.model.forget_nan()
        for wrapper in self.model.chain():
            wrapper.begin_epoch(epoch, self.epochs)

    def on_train_batch_end(self, batch, logs=None):
        if not self._begun:
            self._begun = True
            for wrapper in self.model.chain():
                wrapper.check_first_batch()

    def on_test_begin(self, logs=None):
        # Validation resets the metrics before the epoch ends.
        if self._logs is None:
            self._logs = collected(self.model)

    def on_epoch_end(self, epoch, logs=None):
        self.on_test_begin()
        if logs is not None:
            logs.update(self._logs)
            finite = math.isfinite(float(logs.get("loss", 0.0)))
            if backend.any_process(not finite):
                self._name_the_layer(epoch)

    def _name_the_layer(self, epoch: int) -> None:
        layer = self.model.origin_of_nan()
        if layer is None:
            if backend.process_count() == 1:
                return
            layer = "seen by another process"
        message = (
            f"The loss is NaN or infinite in epoch {epoch + 1}. The first "
            f"that was not finite is {layer!r}. Lower the learning rate, clip "
            "gradients, or look at inputs and labels."
        )
        scaling = keras.optimizers.LossScaleOptimizer
        if not isinstance(self.model.optimizer, scaling):
            raise FloatingPointError(message)
        # It skips such a step, and may go on well.
        warnings.warn(message, RuntimeWarning, stacklevel=2)


class ShortProgress(keras.callbacks.ProgbarLogger):
    """Keras' progress bar without what the wrappers only keep."""

    def on_epoch_end(self, epoch, logs=None):
        kept = {
            name for each in self.model.chain() for name in each.unprinted()
        }
        shown = {k: v for k, v in (logs or {}).items() if k not in kept}
        super().on_epoch_end(epoch, shown)


def collected(model: Any) -> dict[str, float]:
    """The logs of an epoch of all wrappers."""
    logs: dict[str, float] = {}
    for wrapper in model.chain():
        logs.update(wrapper.epoch_logs())
    return logs


def check_fit(
    fit: Callable, model: Any, args: tuple, kwargs: dict
) -> inspect.BoundArguments:
    """Check the batches that `fit` will make; add `Watch` to its callbacks.

    So is a progress bar, if there is to be one and is none among them.
    Targets in arrays are checked now, those of a stream as they come.
    """
    bound = inspect.signature(fit).bind(*args, **kwargs)
    arguments = bound.arguments
    sizes = batch_sizes(arguments)
    for wrapper in model.chain():
        wrapper.check_batches(sizes)
    checks = [check for w in model.chain() for check in w.target_checks()]
    _check_targets(checks, arguments.get("y"))
    if checks and arguments.get("y") is None:
        arguments["x"] = checked(arguments.get("x"), checks)
    watch = Watch(arguments.get("epochs", 1))
    callbacks = callbacks_with(arguments.get("callbacks"), watch, model)
    if arguments.get("verbose", "auto") != 0 and isinstance(callbacks, list):
        bars = keras.callbacks.ProgbarLogger
        if not any(isinstance(each, bars) for each in callbacks):
            callbacks.append(ShortProgress())
    arguments["callbacks"] = callbacks
    return bound


def _check_targets(checks: list, targets: Any) -> None:
    """Raise for targets that cannot be learned, in all processes or in none."""
    error = None
    try:
        for check in checks:
            check(targets)
    except ValueError as found:
        error = found
    refused = bool(checks) and backend.any_process(error is not None)
    if error is not None:
        raise error
    if refused:
        raise ValueError(
            "The targets of all processes must be such that they can be "
            "learned. Received: those of another process are not; it says why"
        )


def batch_sizes(arguments: dict[str, Any]) -> set[int]:
    """The sizes of the batches that arrays are cut into, the last included.

    Empty where that is not known: data sets, generators.
    """
    arrays = [a for a in tree.flatten(arguments.get("x")) if a is not None]
    if not arrays or not all(hasattr(a, "shape") for a in arrays):
        return set()
    samples = arrays[0].shape[0]
    split = arguments.get("validation_split", 0.0)
    samples = math.floor(samples * (1.0 - split))
    size = arguments.get("batch_size") or DEFAULT_BATCH_SIZE
    return {min(size, samples), samples % size or size}
