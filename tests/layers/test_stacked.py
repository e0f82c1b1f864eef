"""What begins a stacked variable is what begins its copies."""

import keras
import numpy as np
import pytest
from keras import initializers, ops

from tfdeep.layers.stacked import DRAWN, StackedInitializer, reseeded


def drawn(initializer, shape, dtype):
    values = initializer(shape, dtype=dtype)
    assert keras.backend.standardize_dtype(values.dtype) == dtype
    return ops.convert_to_numpy(ops.cast(values, "float32"))


def one_by_one(initializer, shape, dtype):
    return np.stack(
        [
            drawn(reseeded(initializer, copy), shape[1:], dtype)
            for copy in range(shape[0])
        ]
    )


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("kind", DRAWN)
def test_drawn_together_as_one_by_one(kind, dtype):
    initializer, shape = kind(seed=2**31 - 2), (5, 3, 3, 4, 6)
    ours = drawn(StackedInitializer(initializer), shape, dtype)
    np.testing.assert_array_equal(ours, one_by_one(initializer, shape, dtype))
    assert not np.array_equal(ours[0], ours[1])


def test_settings_are_kept():
    initializer = initializers.VarianceScaling(
        3.0, "fan_out", "untruncated_normal", seed=4
    )
    ours = StackedInitializer(initializer)
    shape = (3, 2, 8, 5)
    np.testing.assert_array_equal(
        drawn(ours, shape, "float32"),
        one_by_one(initializer, shape, "float32"),
    )


class Ramp(initializers.RandomNormal):
    """One of a user's own, which takes its seed as a number."""

    def __call__(self, shape, dtype=None, **kwargs):
        start = np.random.default_rng(self.seed).uniform()
        values = np.arange(np.prod(shape)).reshape(shape) + start
        return ops.convert_to_tensor(values, dtype=dtype)


@pytest.mark.parametrize(
    "initializer",
    [Ramp(seed=3), initializers.Orthogonal(seed=3), initializers.Identity()],
    ids=lambda initializer: type(initializer).__name__,
)
def test_others_begin_each_copy_alone(initializer):
    ours = StackedInitializer(initializer)
    shape = (4, 6, 6)
    np.testing.assert_array_equal(
        drawn(ours, shape, "float32"),
        one_by_one(initializer, shape, "float32"),
    )


def test_a_stack_of_stacks():
    inner = StackedInitializer(initializers.HeNormal(seed=5))
    shape = (2, 3, 4, 4)
    ours = drawn(StackedInitializer(inner), shape, "float32")
    np.testing.assert_array_equal(ours, one_by_one(inner, shape, "float32"))
