"""Batch entropy: how much of a batch a layer still tells apart.

    H(a) = mean_j 1/2 log(pi e Var_j + 1)

over the units j of a layer's output, with the unbiased variance over the
batch (Peer et al. 2022). A layer of entropy 0 passes nothing on.
"""

import contextlib
import math
import threading
from collections.abc import Iterator

import keras
from keras import ops


def batch_entropy(x):
    """Batch entropy of a layer's output, a scalar of at least 0.

    H(x) = mean_j 1/2 log(pi e Var_j + 1), the variance taken over the batch
    with n - 1 in the denominator. Every entry of a sample is a unit: each
    channel of each pixel, each feature of each token.

    Written with the variance, not the standard deviation, it has a finite
    gradient where a unit is constant. It is computed in float32, in float64
    for inputs of that dtype.

    Reference:
        Peer, Keulen, Stabinger, Piater, Rodriguez-Sanchez, "Improving the
        Trainability of Deep Neural Networks through Layerwise Batch-Entropy
        Regularization", 2022. No deviation.

    Args:
        x: tensor of shape `(batch, ...)`. A batch whose size is known only
            when the program runs has entropy 0 if it is a single sample.

    Returns:
        A scalar tensor, float32 or float64.

    Raises:
        ValueError: if the batch has one sample, or there is no batch axis.

    Example:
        >>> import numpy as np, tfdeep
        >>> x = np.array([[0.0, 3.0], [2.0, 3.0]])  # variances 2 and 0
        >>> round(float(tfdeep.layers.batch_entropy(x)), 4)
        0.7237
    """
    return batch_entropies([x])[0]


def batch_entropies(tensors: list):
    """`batch_entropy` of each tensor, as a vector.

    What follows the variance is computed for all tensors of a shape at once:
    a deep and narrow net has many small tensors.
    """
    groups: dict[tuple, list[int]] = {}
    sums = [squared_deviations(x) for x in tensors]
    for index, (x, units) in enumerate(zip(tensors, sums, strict=True)):
        key = (tuple(units.shape), str(units.dtype), x.shape[0])
        groups.setdefault(key, []).append(index)
    values, order = [], []
    for indices in groups.values():
        freedom = _freedom([tensors[index] for index in indices])
        stacked = ops.stack([sums[index] for index in indices])
        values.append(_mean_of_logs(stacked, freedom))
        order.extend(indices)
    found = values[0] if len(values) == 1 else ops.concatenate(values)
    if order == sorted(order):
        return found
    return ops.take(found, [order.index(i) for i in range(len(order))])


def squared_deviations(x):
    """sum_i (x_ij - mean_j)^2 of every unit j, in float32 or float64."""
    x = ops.convert_to_tensor(x)
    if keras.backend.standardize_dtype(x.dtype) != "float64":
        x = ops.cast(x, "float32")
    check_batch(x.shape)
    return _squared_deviations(x)


@ops.custom_gradient
def _squared_deviations(x):
    """The gradient, 2 (x_ij - mean_j), in fewer operations than its parts."""

    def gradient(*args, upstream=None):
        upstream = args[0] if upstream is None else upstream
        return 2 * upstream * (x - _mean(x, 0))

    deviation = x - _mean(x, 0)
    return ops.sum(ops.square(deviation), axis=0), gradient


def _freedom(tensors: list):
    """n - 1 of tensors with equal static batch size, at least 1."""
    size = tensors[0].shape[0]
    if size is not None:
        return size - 1
    sizes = ops.stack([ops.shape(x)[0] for x in tensors])
    return ops.maximum(sizes - 1, 1)


def _mean_of_logs(sums, freedom):
    """mean_j 1/2 log(pi e Var_j + 1) for a stack of sums of squares."""
    if not isinstance(freedom, int):
        freedom = ops.reshape(freedom, (-1, *(1,) * (len(sums.shape) - 1)))
        freedom = ops.cast(freedom, sums.dtype)
    logs = ops.log1p(math.pi * math.e / freedom * sums)
    units = ops.reshape(logs, (logs.shape[0], -1))
    return _mean(units, 1)[:, 0] / 2


def _mean(x, axis: int):
    """The mean, keeping the axis; on JAX Keras' own is one in float32."""
    count = ops.cast(ops.shape(x)[axis], x.dtype)
    return ops.sum(x, axis=axis, keepdims=True) / count


def check_batch(shape) -> None:
    """Raise `ValueError` unless the shape may be that of two samples."""
    if not len(shape):
        raise ValueError(
            "`batch_entropy` must be given a tensor of shape (batch, ...), "
            "as it takes the variance over the first axis. Received: a scalar"
        )
    if shape[0] is not None and shape[0] < 2:
        raise ValueError(
            "`batch_entropy` must be given two samples, for a variance over "
            f"the batch. Received: a batch of {shape[0]}. Pass a larger "
            "batch, and drop a last batch of one."
        )


class _Open(threading.local):
    """The dictionaries that collect entropies in this thread."""

    def __init__(self):
        self.stack: list[dict] = []


_OPEN = _Open()


@contextlib.contextmanager
def collected_entropies() -> Iterator[dict]:
    """Collect what `BatchEntropy` layers report within the block.

    Yields:
        A dictionary from the layer to the list of its entropies, one entry
        per call.
    """
    found: dict = {}
    _OPEN.stack.append(found)
    try:
        yield found
    finally:
        _OPEN.stack.pop()  # Equal to others, perhaps: blocks nest.


@keras.saving.register_keras_serializable(package="tfdeep")
class BatchEntropy(keras.layers.Layer):
    """The identity, which reports the batch entropy of what passes.

    Put it into a hand-written model where the signal should not die, and
    `tfdeep.training.BatchEntropyRegularizer` around the model: the layer
    joins the regulariser and its entropy is logged. A model whose inner
    tensors Keras cannot see (Python's loops and conditions, blocks of its
    own) is regularised in this way. `tfdeep.callbacks.BatchEntropyMonitor`
    reads the layer too. Without either it costs nothing.

    Within a traced loop or condition (`ops.while_loop`, `ops.cond`) it cannot
    be: return the tensor from there, and call the layer on it. The regulariser
    says so; in a compiled step on JAX the error is JAX's own, an
    `UnexpectedTracerError` about a value that leaked from `batch_entropy`.

    The regulariser and the monitor refuse one within a branch that may be
    skipped, such as that of `StochasticDepth`, and within `Repeat` or a
    `ReversibleStack` of equal blocks, which run as a loop: put it behind the
    block. `tfdeep.models.unstack` makes plain layers of a `Repeat`.

    Reference:
        Peer et al., "Improving the Trainability of Deep Neural Networks
        through Layerwise Batch-Entropy Regularization", 2022.

    Args:
        **kwargs: `name`, `dtype` and further arguments of a Keras layer.

    Call arguments:
        inputs: tensor, the batch on its first axis.

    Input shape:
        `(batch, ...)`, any rank.

    Output shape:
        That of the input.

    Raises:
        ValueError: if its entropy is collected over a batch of one sample.

    Example:
        >>> import numpy as np, tfdeep
        >>> layer, x = tfdeep.layers.BatchEntropy(), np.eye(3, dtype="float32")
        >>> bool(np.all(np.asarray(layer(x)) == x))
        True
    """

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.supports_masking = True
        self.built = True

    def call(self, inputs):
        if _OPEN.stack:
            found = _OPEN.stack[-1].setdefault(self, [])
            found.append(batch_entropy(inputs))
        return inputs

    def compute_output_shape(self, input_shape):
        return input_shape
