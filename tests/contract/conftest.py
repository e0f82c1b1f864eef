"""Settings of the contract's tests."""

import os

import keras
import pytest

# Compiling costs more than running here: let XLA not optimise its code.
os.environ["XLA_FLAGS"] = " ".join(
    [
        os.environ.get("XLA_FLAGS", ""),
        "--xla_backend_optimization_level=0",
        "--xla_llvm_disable_expensive_passes=true",
    ]
)


@pytest.fixture(autouse=True, scope="module")
def free_memory():
    """Drop what the models and compiled steps of a file hold."""
    yield
    keras.utils.clear_session()
