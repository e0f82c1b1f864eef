import pytest


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory):
    """A TFDS directory in which "digits" and "mnist5k" are prepared once."""
    return str(tmp_path_factory.mktemp("tfds"))
