"""A stream of half-batches from whatever `fit` takes.

One iteration of GradInit takes two of them, or three: what it needs is known
only after the first two. So they come one by one, all of the same size, and
without end unless the data has one.
"""

import itertools
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
from keras import ops, tree

from tfdeep.initializers.kinds import kind_of


def half_batches(data: Any, batch_size: int, seed: int | None) -> Iterator:
    """Yield `(x, y, sample_weight)` in NumPy, half a batch each.

    Args:
        data: `(x, y)` or `(x, y, sample_weight)` of arrays, which are
            shuffled anew in each pass; or batches of these: a
            `tf.data.Dataset`, a `keras.utils.PyDataset`, any iterable.
        batch_size: integer, twice the size of what is yielded from arrays.
            Batches are cut in two as they come.
        seed: optional integer, the order of arrays.

    Raises:
        ValueError: if there is less than one half-batch, or no more.
    """
    if isinstance(data, tuple):
        return _of_arrays(data, batch_size // 2, np.random.default_rng(seed))
    if isinstance(data, keras.utils.PyDataset) or hasattr(data, "__iter__"):
        return _of_batches(data)
    raise TypeError(
        "`data` must be a tuple (x, y) of arrays or an iterable of such "
        f"batches. Received: data={type(data).__name__}. Pass what you pass "
        "to fit."
    )


def join(first: Any, second: Any) -> Any:
    """One batch from two, sample after sample."""
    return tree.map_structure(
        lambda a, b: None if a is None else np.concatenate([a, b]),
        first,
        second,
    )


def _of_arrays(data, size, rng):
    arrays = _unpack(data)
    count = _rows(arrays)
    if count < size:
        raise ValueError(
            f"`data` must have at least the {size} samples of a half-batch. "
            f"Received: {count} samples. Pass more data, or a `batch_size` of "
            "at most twice the samples."
        )

    def endless():
        while True:
            order = rng.permutation(count)
            for start in range(0, count - size + 1, size):
                yield _take(arrays, order[start : start + size])

    return endless()


def _of_batches(data):
    size = None
    yielded = 0
    while True:
        before = yielded
        for batch in _once(data):
            arrays = _unpack(batch)
            count = _rows(arrays)
            size = size or count // 2
            if not size:
                raise ValueError(
                    "The batches of `data` must have two samples or more, as "
                    "GradInit cuts each into halves. Received: batches of "
                    f"{count}"
                )
            # Of a shorter last batch a whole half is used, or nothing.
            for start in range(0, min(count, 2 * size) - size + 1, size):
                yielded += 1
                yield _take(arrays, slice(start, start + size))
        if yielded == before:
            raise ValueError(
                f"`data` ended after {yielded} half-batches. An iteration of "
                "GradInit takes two or three. Pass data that can be run "
                "through again, such as a list of batches, or fewer "
                "`iterations`."
            )


def _once(data):
    if isinstance(data, keras.utils.PyDataset):
        count = data.num_batches  # None where it does not end.
        indices = itertools.count() if count is None else range(count)
        return (data[index] for index in indices)
    return iter(data)


def _unpack(batch):
    """The three parts in NumPy, numbers as precise as Keras takes them."""
    if isinstance(batch, list):
        batch = tuple(batch)
    if not isinstance(batch, tuple) or not 2 <= len(batch) <= 3:
        length = f" of {len(batch)}" if isinstance(batch, tuple) else ""
        raise ValueError(
            "`data` must be inputs and labels, (x, y) or (x, y, "
            "sample_weight), or batches of these. Received: a "
            f"{type(batch).__name__}{length} as a batch"
        )
    parts = keras.utils.unpack_x_y_sample_weight(batch)
    x, *others = tree.map_structure(_array, parts)
    for array in tree.flatten(x):
        if array is not None and kind_of(array) is None:
            raise ValueError(
                "The inputs of `data` must be numbers or text. Received: "
                f"dtype {array.dtype}. Convert them, for example with "
                "x.astype('float32')."
            )
    for array in tree.flatten(others):
        if array is not None and kind_of(array) != "numbers":
            raise ValueError(
                "The labels of `data` must be real numbers. Received: dtype "
                f"{array.dtype}. Number the classes from 0."
            )
    return x, *others


def _array(value):
    if value is None:
        return None
    is_tensor = ops.is_tensor(value) or isinstance(value, keras.Variable)
    array = ops.convert_to_numpy(value) if is_tensor else np.asarray(value)
    if np.issubdtype(array.dtype, np.floating):
        array = array.astype(keras.config.floatx(), copy=False)
    return array


def _rows(arrays) -> int:
    shapes = [a.shape for a in tree.flatten(arrays) if a is not None]
    rows = {shape[0] if shape else -1 for shape in shapes}
    if len(rows) != 1 or -1 in rows:
        raise ValueError(
            "`data` must have the same number of samples on the first axis "
            f"of each array. Received: shapes {shapes}. Pass one label for "
            "each sample."
        )
    return rows.pop()


def _take(arrays, index):
    return tree.map_structure(
        lambda array: None if array is None else array[index], arrays
    )
