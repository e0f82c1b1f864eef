"""Primary capsules: channels in groups, position by position."""

import numpy as np
import pytest
from keras import ops

from tests.helpers import images
from tfdeep.layers import PrimaryCapsules, squash


def test_capsules_are_groups_of_channels():
    layer, x = PrimaryCapsules(6, 3, 3), images(2, 7, 9, 4)
    capsules = np.array(layer(x))
    channels = np.array(layer.conv(x))  # (2, 3, 4, 6)
    assert capsules.shape == (2, 3 * 4 * 2, 3)
    for row in range(3):
        for column in range(4):
            for group in range(2):
                vector = channels[:, row, column, 3 * group : 3 * group + 3]
                number = (row * 4 + column) * 2 + group
                np.testing.assert_allclose(
                    capsules[:, number], squash(ops.array(vector)), 1e-5, 1e-6
                )


def test_unknown_sizes_and_bad_input():
    layer = PrimaryCapsules(6, 3, 3)
    assert layer.compute_output_shape((None, None, 9, 4)) == (None, None, 3)
    with pytest.raises(ValueError, match="must fit"):
        PrimaryCapsules(6, 3).build((None, 8, 8, 4))
    with pytest.raises(ValueError, match="rank 4"):
        layer.build((None, 8, 4))
    with pytest.raises(ValueError, match="multiple"):
        PrimaryCapsules(6, 4)
