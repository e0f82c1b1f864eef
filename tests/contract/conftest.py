"""Settings of the contract's tests."""

import os

# Compiling costs more than running here: let XLA not optimise its code.
os.environ["XLA_FLAGS"] = " ".join(
    [
        os.environ.get("XLA_FLAGS", ""),
        "--xla_backend_optimization_level=0",
        "--xla_llvm_disable_expensive_passes=true",
    ]
)

import keras  # noqa: E402
import pytest  # noqa: E402


@pytest.fixture(autouse=True)
def clean_state():
    """Start each test with float32 and without the graphs of the last."""
    keras.backend.clear_session()
    yield
    keras.config.set_dtype_policy("float32")
