"""Two real processes that train a wrapped model together."""

import numpy as np
import pytest

from tests.helpers import arrays
from tests.training.two_process_cases import data, wrapped
from tests.two_processes import run_in_two

pytestmark = pytest.mark.slow
CASES = "tests.training.two_process_cases"


def test_both_train_as_one_does_and_go_on_from_a_file(tmp_path):
    """The first run ends after one batch; other processes take the next."""
    arguments = {"name": "supervision", "path": str(tmp_path / "w.keras")}
    run_in_two(f"{CASES}:train", {**arguments, "rows": [0, 8]})
    found = run_in_two(f"{CASES}:train", {**arguments, "rows": [8, 16]})
    model, (x, y) = wrapped("supervision"), data()
    model.fit(x, y, batch_size=8, shuffle=False, verbose=0)
    alone = arrays(model.trainable_variables)
    for one, two, expected in zip(*found, alone, strict=True):
        np.testing.assert_array_equal(one, two)
        np.testing.assert_allclose(one, expected, 1e-5, 1e-6)


# On JAX alone: the `fit` of Keras fails under TensorFlow's strategy for it.


@pytest.mark.jax
def test_a_nan_in_the_rows_of_one_ends_both():
    arguments = {"name": "entropy", "row": 14, "what": "input"}
    for said in run_in_two(f"{CASES}:refused", arguments):
        assert "The loss is NaN or infinite in epoch 1" in said


@pytest.mark.jax
def test_a_wrong_label_in_the_rows_of_one_ends_both():
    arguments = {"name": "supervision", "row": 14, "what": "label"}
    first, second = run_in_two(f"{CASES}:refused", arguments)
    assert "those of another process are not" in first
    assert "must be numbers from 0 to 2" in second
