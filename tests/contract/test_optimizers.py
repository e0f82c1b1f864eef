"""What every optimizer passes: those of TF Privacy, on TensorFlow.

    settings    the configuration is JSON and makes the same optimizer again;
                it is registered under the name that files have
    refused     a plain `fit`, whose gradients nothing has clipped

That an update is that of the Keras class, what the noise is, and private
steps: tests/privacy/tf_privacy.  Loaded in a fresh process, compiled:
test_together.py.  Optimizers around optimizers: tests/optimizers, which has a
case for each.
"""

import inspect
import json

import keras
import numpy as np
import pytest

from tests.contract.exports import (
    PLAIN,
    exports_of,
    in_tf_privacy,
    thing_of,
)
from tests.contract.harness import HAS_TENSORFLOW, HAS_TF_PRIVACY
from tfdeep.optimizers import OptimizerWrapper

OPTIMIZERS = list(filter(in_tf_privacy, exports_of("optimizer")))
pytestmark = [
    pytest.mark.tensorflow,
    pytest.mark.skipif(
        not (HAS_TENSORFLOW and HAS_TF_PRIVACY),
        reason="TF Privacy is not installed; it needs Python 3.11",
    ),
]
each_optimizer = pytest.mark.parametrize("name", OPTIMIZERS)


def make(name: str, /, **kwargs):
    """One of the optimizers, with a clip and noise."""
    tf_privacy = thing_of("privacy.tf_privacy")
    cls = thing_of(name)
    if "DPFTRL" in name:
        kwargs["var_list_or_model"] = [[3, 2], [2]]
    if "GenericDP" in name:
        query = tf_privacy.GaussianSumQuery(2.0, 1.0)
        return cls(query, **kwargs)
    return cls(l2_norm_clip=2.0, noise_multiplier=0.5, **kwargs)


def test_every_optimizer_has_a_case():
    others = set(exports_of("optimizer")) - set(OPTIMIZERS)
    assert all(issubclass(thing_of(n), OptimizerWrapper) for n in others)


@each_optimizer
def test_settings(name):
    optimizer = make(name, learning_rate=0.25, name="mine")
    data = json.loads(json.dumps(keras.optimizers.serialize(optimizer)))
    twin = keras.optimizers.deserialize(data)
    assert type(twin) is type(optimizer) and twin.name == "mine"
    assert keras.optimizers.serialize(twin) == keras.optimizers.serialize(
        optimizer
    )
    assert float(twin.learning_rate) == 0.25
    registered = keras.saving.get_registered_name(type(optimizer))
    assert registered == f"tfdeep>{name.rpartition('.')[2]}"


@each_optimizer
def test_a_plain_fit_is_refused(name):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    model.compile(make(name), "mse", run_eagerly=True)
    before = model.get_weights()
    with pytest.raises(Exception, match="(?i)privat|clip|gradient"):
        model.fit(np.ones((4, 3)), np.ones((4, 2)), verbose=0)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(new, old)


@pytest.mark.parametrize("name", PLAIN["tests/contract/test_optimizers.py"])
def test_queries_and_factories_are_those_of_tf_privacy(name):
    thing, last = thing_of(name), name.rpartition(".")[2]
    assert thing.__name__ == last and inspect.getdoc(thing)
    if not last.startswith("make_"):
        assert any(
            base.__module__.startswith("tensorflow_privacy")
            for base in thing.__mro__
        )


def files() -> dict:
    """Models compiled with each, for a fresh process to load, and an input."""
    made = {"OptimizerWrapper": OptimizerWrapper("adam")}
    for name in OPTIMIZERS if HAS_TF_PRIVACY else ():
        made[name.rpartition(".")[2]] = make(name)
    models = {}
    for name, optimizer in made.items():
        model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
        model.compile(optimizer, "mse")
        model.optimizer.build(model.trainable_variables)
        models[name] = model, np.ones((2, 3), "float32")
    return models
