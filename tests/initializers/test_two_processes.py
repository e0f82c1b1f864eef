"""Processes that train one model together start from the same weights."""

import numpy as np
import pytest

from tests.two_processes import run_in_two

pytestmark = pytest.mark.slow


def test_they_start_as_the_first_one_does():
    """Without a seed, and with data of which each has its own part."""
    case = "tests.initializers.two_process_cases:starts"
    first, second = run_in_two(case)
    for name in ("AutoInit", "from_data", "GradInit"):
        for one, two in zip(first[name], second[name], strict=True):
            np.testing.assert_array_equal(one, two)
    assert first["scales"] == second["scales"]
    # The second one's data are three times as large, which does not count.
    assert first["scale"] == second["scale"]
    assert first["scale"] == pytest.approx(8**-0.5, rel=0.2)
