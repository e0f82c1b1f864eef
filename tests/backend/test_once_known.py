"""A tensor that waits for another is the same tensor."""

import numpy as np
import pytest
from keras import ops

from tfdeep import backend


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_it_is_the_same_whatever_the_event_is(dtype):
    tensor = ops.cast(np.random.default_rng(0).normal(size=(5, 3, 2)), dtype)
    event = ops.convert_to_tensor([0.0, 2.5, np.inf, np.nan, 1e-30], "float32")
    waited = backend.once_known(tensor, event)
    assert waited.dtype == tensor.dtype
    np.testing.assert_array_equal(
        ops.convert_to_numpy(ops.cast(waited, "float32")),
        ops.convert_to_numpy(ops.cast(tensor, "float32")),
    )
