"""How many devices share a batch."""

import pytest

from tfdeep import backend


def test_one_without_a_strategy():
    assert backend.replica_count() == 1


@pytest.mark.tensorflow
def test_within_a_strategy_of_one_device():
    import tensorflow as tf

    strategy = tf.distribute.OneDeviceStrategy("CPU:0")
    with strategy.scope():
        assert backend.replica_count() == 1
