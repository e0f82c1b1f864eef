"""The paper's claim: memory of a training step hardly grows with depth."""

import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import pytest

from tfdeep.recipes.measure import HANDED_BACK

ROOT = Path(__file__).parents[2]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        sys.platform != "linux", reason="Resident memory is read from Linux."
    ),
]


@pytest.fixture(scope="module")
def measured():
    """What a process prints in which memory is measured exactly."""
    environment = {
        **os.environ,
        "KERAS_BACKEND": keras.backend.backend(),
        **HANDED_BACK,
        # One operation after the other, always in the same order.
        "TF_NUM_INTEROP_THREADS": "1",
    }
    environment.pop("XLA_FLAGS", None)
    done = subprocess.run(
        [sys.executable, "-m", "tests.layers.memory_child"],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_memory_from_ten_to_sixty_blocks(measured):
    """On TensorFlow without XLA and with it."""
    for found in measured["steps"]:
        (few, many), plain = found["reversible"], found["plain"]
        # Sixty blocks have one more kept pair than ten.
        assert many - few < 0.02 * plain
        assert 0 < many < plain / 16
    assert measured["steps"][0]["plain"] > 4 * measured["plain of ten"]


def test_what_is_freed_does_not_count(measured):
    assert measured["arrays"] == pytest.approx([8, 32], abs=0.5)
