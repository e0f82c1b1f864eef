"""The paper's claim: memory of a training step hardly grows with depth."""

import json
import sys
from pathlib import Path

import pytest

from tfdeep.recipes.measure import HANDED_BACK


@pytest.fixture
def exactly(monkeypatch, fresh_process):
    """Read what a process prints in which memory is measured exactly."""
    for name, value in HANDED_BACK.items():
        monkeypatch.setenv(name, value)
    # One operation after the other, always in the same order.
    monkeypatch.setenv("TF_NUM_INTEROP_THREADS", "1")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    return lambda code: json.loads(fresh_process(code).splitlines()[-1])


@pytest.mark.slow
@pytest.mark.skipif(
    sys.platform != "linux", reason="Resident memory is read from Linux."
)
def test_memory_from_ten_to_sixty_blocks(exactly):
    """On TensorFlow without XLA and with it."""
    found = exactly("import tests.layers.memory_child as m; m.main()")
    for reversible, plain in found:
        assert 0 < reversible[1] <= 1.15 * reversible[0]
        assert plain[1] > 4 * plain[0]
        assert plain[1] > 8 * reversible[1]


@pytest.mark.skipif(
    sys.platform != "linux", reason="Resident memory is read from Linux."
)
def test_what_is_freed_does_not_count(exactly):
    found = exactly(
        "import numpy as np; from tfdeep.recipes.measure import memory_of\n"
        "def one_after_the_other():\n"
        "    for _ in range(4): np.ones(2**20)\n"
        "def together():\n"
        "    kept = [np.ones(2**20) for _ in range(4)]\n"
        "print([memory_of(one_after_the_other), memory_of(together)])"
    )
    assert found == pytest.approx([8, 32], abs=0.5)
