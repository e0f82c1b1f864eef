"""How the tests of initializers run programs."""

import pytest

from tests.helpers import BACKEND


@pytest.fixture
def eager():
    """Run what TensorFlow would trace first, which takes longer here."""
    if BACKEND != "tensorflow":
        yield
        return
    import tensorflow as tf

    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)
