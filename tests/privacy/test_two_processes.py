"""Two real processes that train privately together, on loopback."""

import keras
import numpy as np
import pytest

from tests.privacy.two_process_cases import NUMBER
from tests.two_processes import run_in_two

pytestmark = pytest.mark.slow
CASES = "tests.privacy.two_process_cases"


def test_they_draw_one_sample():
    """Nobody is twice in an update, and all take the same steps."""
    first, second = run_in_two(f"{CASES}:sampled")
    assert first["rows"] == second["rows"]
    samples = [
        one + other
        for one, other in zip(first["drawn"], second["drawn"], strict=True)
    ]
    for sample in samples:
        assert len(set(sample)) == len(sample) > 0
        assert set(sample) <= set(range(NUMBER))
    assert samples[1] != samples[2]  # Asked again, it is drawn anew.
    assert first["start"] == second["start"]
    assert first["weights"] == second["weights"] != first["start"]
    assert np.isfinite(
        np.concatenate(list(map(np.ravel, first["weights"])))
    ).all()
    assert first["updates"] == second["updates"] == 4
    if keras.backend.backend() == "jax":
        assert first["secret"] == second["secret"]


def test_arrays_are_refused():
    """Each process would shuffle them by itself."""
    for said in run_in_two(f"{CASES}:shuffled"):
        assert "2 processes" in said and "poisson_batches" in said
