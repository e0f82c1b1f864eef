"""Settings of the contract's tests: less to compile, less to keep."""

import keras
import pytest

JAX = keras.backend.backend() == "jax"


@pytest.fixture(autouse=True, scope="session")
def compile_once(tmp_path_factory):
    """Keep what JAX compiles in files, for this run of the tests."""
    if JAX:
        import jax

        folder = str(tmp_path_factory.mktemp("compiled"))
        jax.config.update("jax_compilation_cache_dir", folder)
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)


@pytest.fixture(autouse=True, scope="module")
def free_memory(compile_once):
    """Drop what the models and compiled steps of a file hold."""
    yield
    keras.utils.clear_session()
    if JAX:
        import jax

        jax.clear_caches()
