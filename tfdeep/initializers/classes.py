"""Labels that number classes, matched with the outputs of a model.

A label of no class is an error on TensorFlow, and on JAX a number that is not
one, far from here.
"""

from collections.abc import Iterator
from typing import Any

import keras
from keras import ops, tree

from tfdeep.checks import check_labels

BY_THE_LABELS = ("crossentropy", "ce")  # Of `compile`; binary for one class.
SPARSE = (
    keras.losses.sparse_categorical_crossentropy,
    "sparse_categorical_crossentropy",
    "SparseCategoricalCrossentropy",
)


def check_classes(model: keras.Model, loss: Any, labels: Any, predicted: Any):
    """Raise for a class that is not there, in any of the outputs.

    Labels of another form than the loss takes are left to the loss.

    Args:
        model: the model, which may know the names of its outputs.
        loss: what `compile` takes, one loss or a list or dict of them.
        labels: arrays, in the structure that `fit` takes.
        predicted: what the model returns, or the specification of it.
    """
    several = tree.is_nested(predicted)
    for name, one, y, y_pred in _by_output(model, loss, labels, predicted):
        shape = getattr(y_pred, "shape", ())
        if not (shape and hasattr(y, "shape")):
            continue
        *sizes, classes = shape
        numbers = tuple(y.shape) in (tuple(sizes), (*sizes, 1))
        if numbers and _is_sparse(one, classes):
            y = ops.convert_to_numpy(y)
            ignored = getattr(one, "ignore_class", None)
            y = y if ignored is None else y[y != ignored]
            check_labels(y, classes, name if several else None)


def _by_output(model, loss, labels, predicted) -> Iterator[tuple]:
    """Name, loss, labels and prediction of each output that has a loss.

    As in Keras a list is in the order of the outputs, a dict by their names,
    one loss is for all, and outputs without one may have no labels. Where
    structures stand within one another, all three go by the same paths.
    """
    paths = _by_path(predicted)
    if any(len(path) > 1 for path in paths):
        targets = _by_path(labels)
        losses = _by_path(loss)
        if not tree.is_nested(loss):
            losses = dict.fromkeys(paths, loss)
        for path in paths.keys() & losses.keys() & targets.keys():
            name = "/".join(map(str, path))
            yield name, losses[path], targets[path], paths[path]
        return
    if isinstance(predicted, dict):
        names = tree.flatten({name: name for name in predicted})
    else:
        numbers = list(range(len(tree.flatten(predicted))))
        names = getattr(model, "output_names", None) or numbers
        if len(set(names)) < len(names):  # One layer gives several.
            names = numbers
    if not tree.is_nested(loss):
        loss = dict.fromkeys(names, loss)
    losses = _named(names, loss)
    losses = {n: losses[n] for n in names if losses.get(n) is not None}
    outputs = _named(names, predicted)
    targets = _named(names, labels) or _named(list(losses), labels)
    for name, one in losses.items():
        if name in outputs and name in targets:
            yield name, one, targets[name], outputs[name]


def _by_path(values) -> dict:
    """The leaves of a structure: keys and places to value."""
    return dict(tree.flatten_with_path(values))


def _named(names, values) -> dict:
    if isinstance(values, dict):
        return values
    flat = tree.flatten(values)
    if len(flat) != len(names):
        return {}
    return dict(zip(names, flat, strict=True))


def _is_sparse(loss, classes) -> bool:
    """Whether the loss takes numbers of classes where they fit the outputs."""
    if loss in BY_THE_LABELS:
        return classes > 1
    sparse = keras.losses.SparseCategoricalCrossentropy
    return isinstance(loss, sparse) or loss in SPARSE
