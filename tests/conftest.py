"""What every test starts from, and where it can run."""

import gc
import os
import subprocess
import sys

# Without oneDNN, which is off by default on CPUs without AVX-512, TensorFlow
# has no convolution with channels first on a CPU. Read when it is imported.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
# Compiling costs more than running here: let XLA not optimise its code.
os.environ["XLA_FLAGS"] = " ".join(
    [
        os.environ.get("XLA_FLAGS", ""),
        "--xla_backend_optimization_level=0",
        "--xla_llvm_disable_expensive_passes=true",
    ]
)

import keras
import pytest

BACKENDS = ("tensorflow", "jax")


def pytest_collection_modifyitems(items):
    """Skip what is marked for a backend that this run does not use."""
    current = keras.backend.backend()
    for item in items:
        for name in BACKENDS:
            if item.get_closest_marker(name) and name != current:
                reason = f"needs the {name} backend, this run is on {current}"
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(autouse=True)
def fresh_keras():
    """The same seed, names, dtype policy and data format for each test."""
    policy = keras.config.dtype_policy()
    data_format = keras.config.image_data_format()
    # Collecting garbage before each test would take longer than the tests.
    keras.utils.clear_session(free_memory=False)
    keras.utils.set_random_seed(0)
    yield
    keras.config.set_dtype_policy(policy)
    keras.config.set_image_data_format(data_format)


@pytest.fixture(autouse=True, scope="module")
def freed_memory():
    """What a file's models and programs held goes with its last test."""
    yield
    keras.utils.clear_session(free_memory=False)
    gc.collect()


@pytest.fixture
def fresh_process():
    """Run Python code in a process of its own and return what it prints."""

    def run(code: str, backend: str | None = None) -> str:
        backend = backend or keras.backend.backend()
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "KERAS_BACKEND": backend},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    return run
