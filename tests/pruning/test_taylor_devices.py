"""Taylor pruning on two devices that share each batch."""

import pytest

MIRRORED = """
import tensorflow as tf
(cpu,) = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(
    cpu, [tf.config.LogicalDeviceConfiguration()] * 2
)
import numpy as np
from tests.helpers import close
from tests.pruning.test_taylor_pruning import X, Y, net, pruning
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])

def trained(form, **normalization):
    model = net(**normalization)
    model.compile(pruning(model, form=form), "mse", jit_compile=False)
    model.fit(X, Y, batch_size=8, epochs=6, shuffle=False, verbose=0)
    return model

def on_both(variable):
    one, other = strategy.experimental_local_results(variable.value)
    np.testing.assert_array_equal(one, other, err_msg=variable.path)
    return one

found = []
for form in ("batch_norm", "weight"):
    for synchronized in (True, False):
        with strategy.scope():
            model = trained(form, synchronized=synchronized)
        kept, average = model.optimizer.kept, model.optimizer.average
        kept, average = on_both(kept), on_both(average)
        assert np.sum(kept == 0) == 6
        for weight in model.trainable_variables:
            on_both(weight)
        if synchronized:
            alone = trained(form).optimizer
            np.testing.assert_array_equal(kept, alone.kept)
            close([average], [np.array(alone.average)], 1e-3, 1e-7)
        found.append(np.array(average))
assert not np.allclose(found[0], found[1], 1e-3)
print("as one device")
"""


@pytest.mark.tensorflow
@pytest.mark.slow
def test_two_devices_with_common_statistics_prune_as_one(fresh_process):
    """Without common statistics both have the same masks, and others."""
    assert fresh_process(MIRRORED).endswith("as one device")


PARALLEL = """
import os
os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=2"
import keras
import numpy as np
from tests.pruning.test_taylor_pruning import X, Y, net, pruning

def kept():
    model = net()
    model.compile(pruning(model), "mse")
    model.fit(X, Y, batch_size=8, epochs=6, shuffle=False, verbose=0)
    return np.array(model.optimizer.kept)

alone = kept()
keras.distribution.set_distribution(keras.distribution.DataParallel())
np.testing.assert_array_equal(kept(), alone)
assert np.sum(alone == 0) == 6
print("as one device")
"""


@pytest.mark.jax
@pytest.mark.slow
def test_two_devices_of_jax_prune_as_one(fresh_process):
    """Batch statistics are those of both devices there."""
    assert fresh_process(PARALLEL).endswith("as one device")
