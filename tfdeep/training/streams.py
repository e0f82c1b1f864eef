"""Streams of batches whose targets are looked at on their way to a step.

Batches are looked at as they come, each before its own step: a generator
cannot be read twice, and a shuffled data set has another order the next time.
"""

import importlib
from collections.abc import Callable, Sequence
from types import GeneratorType
from typing import Any

import keras

Check = Callable[[Any], None]


def checked(data: Any, checks: Sequence[Check]) -> Any:
    """The same stream, of which each batch is checked before its step.

    Args:
        data: a generator, a `keras.utils.PyDataset` or a `tf.data.Dataset`
            of `(x, y)` or `(x, y, sample_weight)`. Others, such as loaders
            of torch, are returned as they are.
        checks: functions of the targets of a batch that raise an error. On
            TensorFlow it may come out as an `InvalidArgumentError` with
            their message.
    """
    if isinstance(data, GeneratorType):
        return _passing(data, checks)
    if isinstance(data, keras.utils.PyDataset):
        return CheckedBatches(data, checks)
    if hasattr(data, "element_spec") and hasattr(data, "map"):
        module = importlib.import_module("tfdeep.backend.tensorflow_data")
        return module.shown(data, lambda y: _run(checks, y))
    return data


class CheckedBatches(keras.utils.PyDataset):
    """The batches of a `PyDataset`, checked by whichever worker makes them.

    Args:
        batches: the data set.
        checks: functions of targets.
    """

    def __init__(self, batches, checks: Sequence[Check]):
        super().__init__(
            workers=batches.workers,
            use_multiprocessing=batches.use_multiprocessing,
            max_queue_size=batches.max_queue_size,
        )
        self.batches = batches
        self.checks = checks

    @property
    def num_batches(self):
        return self.batches.num_batches

    def __getitem__(self, index):
        return _looked_at(self.batches[index], self.checks)

    def on_epoch_begin(self):
        self.batches.on_epoch_begin()

    def on_epoch_end(self):
        self.batches.on_epoch_end()


def _passing(batches, checks):
    for batch in batches:
        yield _looked_at(batch, checks)


def _looked_at(batch, checks):
    if isinstance(batch, (tuple, list)) and len(batch) > 1:
        _run(checks, batch[1])
    return batch


def _run(checks, targets):
    for check in checks:
        check(targets)
