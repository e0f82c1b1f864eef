"""Two real processes that share each batch train as one does.

A dropped branch is one decision for both; batch normalization is that of each
process on TensorFlow, so that the branch has group normalization.
"""

import numpy as np
import pytest

from tests.contract.harness import values
from tests.contract.two_process_cases import batches, compiled
from tests.two_processes import ProcessError, run_in_two

pytestmark = pytest.mark.slow
CASES = "tests.contract.two_process_cases"


def test_two_processes_train_as_one():
    name = "BasicBlock-stochastic"
    arguments = {"name": name, "norm": "group"}
    first, second = run_in_two(f"{CASES}:train", arguments)
    model, (x, y) = compiled(name, norm="group"), batches()
    model.fit(x, y, batch_size=4, shuffle=False, verbose=0)
    for one, two, alone in zip(first, second, values(model), strict=True):
        np.testing.assert_array_equal(one, two)
        np.testing.assert_allclose(one, alone, 1e-5, 1e-5)


@pytest.mark.jax  # Begins in a quarter of TensorFlow's time; the same code.
def test_a_process_that_fails_ends_both():
    with pytest.raises(ProcessError, match="This is the second process"):
        run_in_two(f"{CASES}:fail", seconds=60)
