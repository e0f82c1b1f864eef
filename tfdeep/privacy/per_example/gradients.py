"""Gradients of the examples of a batch, in the forms they are cheapest in.

Each form of the gradient of one weight knows three things: its squared norm
per example, its sum over examples with a factor each, and itself. All are
float32 at least: half precision would lose small terms of long sums.
"""

from functools import reduce

import keras
import numpy as np
from keras import ops

from tfdeep import backend


def dtype_of(tensor) -> str:
    """The name of a tensor's dtype."""
    return keras.backend.standardize_dtype(tensor.dtype)


def square_sums(tensor):
    """The sum of squares within each example, (batch,)."""
    return ops.sum(ops.square(tensor), axis=tuple(range(1, len(tensor.shape))))


def widened(tensor):
    """Half precision as float32."""
    half = dtype_of(tensor) in ("bfloat16", "float16")
    return ops.cast(tensor, "float32") if half else tensor


def per_row(values, tensor):
    """Values (batch,), shaped to be multiplied with (batch, ...)."""
    return ops.reshape(values, (-1, *(1,) * (len(tensor.shape) - 1)))


def zero_unless(kept, tensor):
    """The rows of a tensor where `kept` (batch,) holds, 0 elsewhere."""
    return ops.where(per_row(kept, tensor), tensor, ops.zeros_like(tensor))


class Instances:
    """Gradients in memory as they are.

    Args:
        tensor: (batch, *shape).

    Attributes:
        reach: of each form after `square_norms`: (batch,) sums of the lengths
            of the terms that `weighted_sum` adds, or `None` where there is one
            term for each example.
    """

    reach = None

    def __init__(self, tensor):
        self.tensor = widened(tensor)

    def square_norms(self):
        return square_sums(self.tensor)

    def weighted_sum(self, factors, kept):
        tensor = zero_unless(kept, self.tensor)
        flat = ops.reshape(tensor, (ops.shape(tensor)[0], -1))
        total = ops.matmul(ops.cast(factors, flat.dtype)[None], flat)
        return ops.reshape(total, tensor.shape[1:])

    def records(self, kept):
        return zero_unless(kept, self.tensor)

    def __add__(self, other):
        return Instances(self.tensor + other.records_of_all())

    def records_of_all(self):
        return self.tensor


class Product:
    """sum_t a_t g_t^T, of inputs and output gradients at positions t.

    Its norm comes from the pairs of positions, or from the product itself,
    whichever takes the less memory and time:

        |A^T G|^2 = sum_{s,t} (a_s . a_t) (g_s . g_t)

    The terms of this sum may be large and cancel; rounding then leaves
    anything, also less than 0. It is off by no more than

        E = 4 eps (sum_t |a_t| |g_t|)^2,  eps = 1.2e-7 in float32

    which is added, so that a norm is never taken for less than it is. Where E
    is more than a thousandth of the sum for any example, the products of all
    are computed, one after the other.

    The sum over examples adds the terms of all of them, so that those of one,
    however they cancel, round off what the others have: `reach` tells of it.

    Args:
        inputs: list of (batch, positions, groups, in), the parts of a in their
            order. They are never joined: the patches of a convolution are
            many times as large as what they are cut from.
        grads: (batch, positions, groups, out).
        fold: function that brings (..., groups, in, out), for all parts, to
            the shape of the weight, with as many axes before it.
    """

    def __init__(self, inputs: list, grads, fold):
        self.inputs = [widened(part) for part in inputs]
        self.grads = widened(grads)
        self.fold = fold
        self._product = None
        self.reach = None

    def wait_for(self, norms):
        """Cut out no part before these norms (batch,) are known."""
        self.inputs = [backend.once_known(part, norms) for part in self.inputs]

    def product(self):
        """(batch, groups, in, out)."""
        if self._product is None:
            self._product = self._with_parts(self.inputs, self.grads)
        return self._product

    def _with_parts(self, inputs, grads):
        """The products of all parts, one after the other."""
        parts = [batched_product(part, grads) for part in inputs]
        return parts[0] if len(parts) == 1 else ops.concatenate(parts, -2)

    def _prefers_pairs(self) -> bool:
        positions = self.inputs[0].shape[1]
        if positions is None:
            return False
        size = sum(part.shape[3] for part in self.inputs)
        # Two matrices of pairs; and they take more multiplications, so that
        # they pay only where they are several times smaller than the product.
        return 8 * positions**2 < size * self.grads.shape[3]

    def square_norms(self):
        if self.inputs[0].shape[1] == 1:
            squares = sum(
                ops.sum(ops.square(part), axis=(1, 3)) for part in self.inputs
            )
            return ops.sum(
                squares * ops.sum(ops.square(self.grads), axis=(1, 3)), axis=1
            )
        if not self._prefers_pairs():
            return square_sums(self.product())
        left, right = sum(map(pairs_of, self.inputs)), pairs_of(self.grads)
        total = ops.sum(left * right, axis=(1, 2, 3))
        reach = ops.sum(ops.square(lengths(left, right)), axis=1)
        self.reach = ops.sqrt(reach)
        error = 4.0 * np.finfo(dtype_of(total)).eps * reach
        return ops.cond(
            ops.any(error > 1e-3 * total),
            backend.as_written(self._square_norms_in_turn),
            backend.as_written(lambda: total + error),
        )

    def _square_norms_in_turn(self):
        """Those of the products, of which only one is in memory at once."""

        def one(parts):
            *inputs, grads = [part[None] for part in parts]
            return square_sums(self._with_parts(inputs, grads))[0]

        return ops.map(backend.as_written(one), [*self.inputs, self.grads])

    def weighted_sum(self, factors, kept):
        if self._product is not None:
            return self.fold(
                Instances(self._product).weighted_sum(factors, kept)
            )
        grads = zero_unless(kept, self.grads)
        grads = grads * per_row(ops.cast(factors, grads.dtype), grads)
        inputs = [_as_one(zero_unless(kept, part)) for part in self.inputs]
        return self.fold(self._with_parts(inputs, _as_one(grads))[0])

    def records(self, kept):
        return zero_unless(kept, self.records_of_all())

    def records_of_all(self):
        return self.fold(self.product())

    def __add__(self, other):
        same = isinstance(other, Product) and (
            [part.shape[2:] for part in self.inputs]
            == [part.shape[2:] for part in other.inputs]
        )
        if not same:
            return Instances(self.records_of_all()) + other
        return Product(
            [
                ops.concatenate(parts, axis=1)
                for parts in zip(self.inputs, other.inputs, strict=True)
            ],
            ops.concatenate([self.grads, other.grads], axis=1),
            self.fold,
        )


def batched_product(inputs, grads):
    """(n, t, groups, in), (n, t, groups, out) -> (n, groups, in, out)."""
    if inputs.shape[2] == 1:
        left = ops.transpose(ops.squeeze(inputs, 2), (0, 2, 1))
        return ops.expand_dims(ops.matmul(left, ops.squeeze(grads, 2)), 1)
    if inputs.shape[3] == 1:  # Depthwise: no matrix to multiply.
        return ops.sum(inputs[..., None] * grads[:, :, :, None], axis=1)
    left = ops.transpose(inputs, (0, 2, 3, 1))
    return ops.matmul(left, ops.transpose(grads, (0, 2, 1, 3)))


def pairs_of(tensor):
    """(n, t, groups, k) -> (n, groups, t, t): products of all pairs."""
    tensor = ops.transpose(tensor, (0, 2, 1, 3))
    return ops.matmul(tensor, ops.transpose(tensor, (0, 1, 3, 2)))


def lengths(left, right):
    """(n, groups, t, t) twice -> (n, groups): sum_t |a_t| |g_t|."""
    squares = [ops.diagonal(each, axis1=2, axis2=3) for each in (left, right)]
    return ops.sum(ops.sqrt(squares[0] * squares[1]), axis=2)


def _as_one(tensor):
    """All positions of all examples as those of one: (1, n t, ...)."""
    return ops.reshape(tensor, (1, -1, *tensor.shape[2:]))


class Lookup:
    """Gradients of a table of which each example used a few rows.

    Args:
        rows: (batch, positions), whole numbers.
        grads: (batch, positions, width).
        size: how many rows the table has.
    """

    def __init__(self, rows, grads, size: int):
        self.rows = rows
        self.grads = widened(grads)
        self.size = size

    @property
    def reach(self):
        squares = ops.sum(ops.square(self.grads), axis=2)
        return ops.sum(ops.sqrt(squares), axis=1)

    def square_norms(self):
        # For each position the gradient of its row, as often as it is used.
        same = self.rows[:, :, None] == self.rows[:, None, :]
        same = ops.cast(same, self.grads.dtype)
        of_rows = ops.sum(ops.square(ops.matmul(same, self.grads)), axis=2)
        return ops.sum(of_rows / ops.sum(same, axis=2), axis=1)

    def weighted_sum(self, factors, kept):
        grads = zero_unless(kept, self.grads)
        grads = grads * per_row(ops.cast(factors, grads.dtype), grads)
        return self._scattered(self.rows, grads, self.size)

    def _scattered(self, rows, grads, size):
        return ops.segment_sum(
            ops.reshape(grads, (-1, grads.shape[-1])),
            ops.reshape(rows, (-1,)),
            num_segments=size,
        )

    def records(self, kept):
        return zero_unless(kept, self.records_of_all())

    def records_of_all(self):
        count, width = ops.shape(self.rows)[0], self.grads.shape[-1]
        first = ops.cast(ops.arange(count) * self.size, self.rows.dtype)
        table = self._scattered(
            self.rows + first[:, None], self.grads, count * self.size
        )
        return ops.reshape(table, (count, self.size, width))

    def __add__(self, other):
        if not isinstance(other, Lookup):
            return Instances(self.records_of_all()) + other
        return Lookup(
            ops.concatenate([self.rows, other.rows], axis=1),
            ops.concatenate([self.grads, other.grads], axis=1),
            self.size,
        )


class Absent:
    """The gradient of a weight that the loss does not depend on.

    Args:
        shape: that of the weight.
        count: how many examples there are.
    """

    def __init__(self, shape, count):
        self.shape = tuple(shape)
        self.count = count

    reach = None

    def square_norms(self):
        return ops.zeros((self.count,))

    def weighted_sum(self, factors, kept):
        return ops.zeros(self.shape)

    def records(self, kept):
        return ops.zeros((self.count, *self.shape))


class Gradients:
    """The gradients of all trainable weights, in their order.

    Args:
        forms: one of the forms above per weight.
    """

    def __init__(self, forms: list):
        self.forms = forms

    def square_norms(self) -> list:
        """|g_i|^2 per weight, each (batch,).

        One convolution after the other: the patches of all of them together
        are many times the size of the activations.
        """
        found: list = []
        last = None
        for form in self.forms:
            in_parts = isinstance(form, Product) and len(form.inputs) > 1
            if in_parts and last is not None:
                form.wait_for(last)
            found.append(form.square_norms())
            if in_parts:
                last = found[-1]
        return found

    def reaches(self) -> list:
        """(batch,) lengths of the terms of each weight, or `None`."""
        return [form.reach for form in self.forms]

    def weighted_sums(self, factors: list, kept) -> list:
        """sum_i c_i g_i per weight, over the examples that are kept."""
        return [
            form.weighted_sum(factor, kept)
            for form, factor in zip(self.forms, factors, strict=True)
        ]

    def records(self, kept) -> list:
        """The gradients (batch, *shape) per weight, 0 where not kept."""
        return [form.records(kept) for form in self.forms]


def added(forms: list):
    """The gradient of a weight that was used in several places."""
    return reduce(lambda one, other: one + other, forms)
