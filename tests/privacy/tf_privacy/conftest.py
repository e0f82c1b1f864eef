"""TF Privacy is an extra, and is written in TensorFlow."""

import importlib.util
from pathlib import Path

import pytest

HERE = Path(__file__).parent
MISSING = importlib.util.find_spec("tensorflow_privacy") is None


def pytest_collection_modifyitems(items):
    for item in items:
        if HERE in item.path.parents and item.path.name != "test_lazy.py":
            item.add_marker(pytest.mark.tensorflow)
            item.add_marker(
                pytest.mark.skipif(MISSING, reason="needs tensorflow-privacy")
            )
