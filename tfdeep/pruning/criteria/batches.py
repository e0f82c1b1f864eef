"""Mini-batches of data, and the loss of a model on one."""

from collections.abc import Callable, Iterable
from typing import Any

import keras
import numpy as np
from keras import ops, tree

from tfdeep.checks import check_boolean, check_positive


def batches(x: Any, y: Any, batch_size: int) -> list[tuple]:
    """Pairs of inputs and targets.

    Args:
        x: an array, or a structure of arrays; or, without `y`, batches
            `(x, y)`, such as a `tf.data.Dataset`.
        y: targets.
        batch_size: integer.

    Raises:
        ValueError: if there are no data.
    """
    check_positive("batch_size", batch_size)
    if x is None:
        raise ValueError(
            "`x` and `y` must be given: this criterion asks a loss. Received: "
            "x=None"
        )
    if y is None:
        if not isinstance(x, Iterable) or hasattr(x, "shape"):
            raise ValueError("`y` must be given with arrays. Received: y=None")
        found = [(batch[0], batch[1]) for batch in x]
    else:
        count = len(tree.flatten(x)[0])
        found = [
            tree.map_structure(lambda a, i=i: a[i : i + batch_size], (x, y))
            for i in range(0, count, batch_size)
        ]
    if not found:
        raise ValueError("`x` must have at least one example. Received: none")
    return [tree.map_structure(ops.convert_to_tensor, batch) for batch in found]


def loss_function(model: keras.Model, loss: Any) -> Callable:
    """A function of targets and outputs: the loss, without penalties.

    Args:
        model: the model.
        loss: a loss, its name, or a structure of them; `None` for those that
            the model is compiled with.

    Raises:
        ValueError: if there is none.
    """
    given = loss
    if given is None:
        given = model.loss if getattr(model, "compiled", False) else None
    if given is None:
        raise ValueError(
            "`loss` must be given for a model that is not compiled with one. "
            f"Received: loss=None for {model.name!r}"
        )
    if isinstance(given, (dict, list, tuple)):
        return _sum_of(model, given)
    one = _loss(given)

    def single(y, outputs):
        return sum(
            one(target, output)
            for target, output in zip(
                tree.flatten(y), tree.flatten(outputs), strict=True
            )
        )

    return single


def _sum_of(model: keras.Model, given: Any) -> Callable:
    """The sum of the losses of several outputs."""

    def total(y, outputs):
        names = list(outputs) if isinstance(outputs, dict) else None
        if isinstance(given, dict):
            names = names or model.output_names
            found = dict(zip(names, tree.flatten(outputs), strict=True))
            targets = (
                y
                if isinstance(y, dict)
                else dict(zip(names, tree.flatten(y), strict=True))
            )
            return sum(
                _loss(given[name])(targets[name], found[name])
                for name in names
                if given.get(name) is not None
            )
        triples = zip(
            given, tree.flatten(y), tree.flatten(outputs), strict=True
        )
        return sum(
            _loss(each)(target, output)
            for each, target, output in triples
            if each is not None
        )

    return total


def _loss(given: Any) -> Callable:
    loss = keras.losses.get(given)
    if isinstance(loss, keras.losses.Loss):
        return loss
    return lambda y, output: ops.mean(loss(y, output))


def in_mode(model: keras.Model, mapping: list, x: Any, training: bool) -> Any:
    """The outputs of a model with other values of variables; nothing moves."""
    with keras.StatelessScope(mapping):
        return model(x, training=training)


def check_mode(training: bool) -> None:
    """Raise `ValueError` unless it is a boolean."""
    check_boolean("training", training)


def mean_over(batch_scores: list[dict]) -> dict[str, np.ndarray]:
    """The mean of scores over mini-batches."""
    return {
        name: np.mean([scores[name] for scores in batch_scores], axis=0)
        for name in batch_scores[0]
    }
