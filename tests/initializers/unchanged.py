"""What a method that fails, or only looks, must leave as it was."""

import contextlib

import numpy as np

from tests.helpers import arrays


@contextlib.contextmanager
def unchanged(model):
    """Assert that no variable of a model is different afterwards."""
    before = arrays(model.variables)
    yield
    for old, new in zip(before, arrays(model.variables), strict=True):
        np.testing.assert_array_equal(old, new)
