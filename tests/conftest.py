"""What every test starts from, and where it can run."""

import gc
import os
import subprocess
import sys

# Without oneDNN, which is off by default on CPUs without AVX-512, TensorFlow
# has no convolution with channels first on a CPU. Read when it is imported.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
# Tensors here are small: two threads take longer over them than one.
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
# Compiling costs more than running here: let XLA not optimise its code.
os.environ["XLA_FLAGS"] = " ".join(
    [
        os.environ.get("XLA_FLAGS", ""),
        "--xla_backend_optimization_level=0",
        "--xla_llvm_disable_expensive_passes=true",
    ]
)

import pytest

# Graphs are made of many objects; looking for garbage among them took a tenth
# of the time. `freed_memory` looks after each file.
gc.set_threshold(20_000, 20, 10)

BACKENDS = ("tensorflow", "jax")
# Keras is imported in functions alone: the process that hands out the tests to
# others then need not load it.


@pytest.hookimpl(wrapper=True)
def pytest_collect_file(file_path):
    """Look for examples in the package's docstrings, not in the tests'."""
    found = yield
    return [each for each in found if type(each) is pytest.Module]


def pytest_collection_modifyitems(items):
    """Skip what is marked for a backend that this run does not use."""
    import keras

    current = keras.backend.backend()
    for item in items:
        for name in BACKENDS:
            if item.get_closest_marker(name) and name != current:
                reason = f"needs the {name} backend, this run is on {current}"
                item.add_marker(pytest.mark.skip(reason=reason))


def pytest_collection_finish():
    """Leave the modules, which stay, out of each collection of garbage."""
    gc.collect()
    gc.freeze()


class Clock:
    """Notes the CPU seconds of each test and its fixtures for `make times`."""

    def __init__(self):
        self.last = self.now()

    @staticmethod
    def now():
        """Of this process and of those that it saw end."""
        return sum(os.times()[:4])

    def pytest_collection_finish(self):
        self.last = self.now()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, call):
        report = yield
        if call.when == "teardown":
            spent, self.last = self.now() - self.last, self.now()
            report.user_properties.append(("cpu_seconds", f"{spent:.2f}"))
        return report


def pytest_configure(config):
    config.pluginmanager.register(Clock())


@pytest.fixture(autouse=True)
def fresh_keras():
    """The same seed, names, dtype policy and data format for each test."""
    import keras

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
    """What a file's models and programs held goes with its last test.

    What stays, caches of TensorFlow for the most part, is left out of each
    collection from then on, and of each search among all objects.
    """
    yield
    import keras

    keras.utils.clear_session(free_memory=False)
    gc.collect()
    gc.freeze()


@pytest.fixture
def fresh_process():
    """Run Python code in a process of its own and return what it prints."""
    import keras

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
