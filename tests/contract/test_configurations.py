"""What every configuration object passes: settings that others are given.

settings    the configuration is JSON, holds every argument, and makes the
            same object again, by `from_config` and by Keras' register
refused     arguments out of range, by a ValueError that names them
"""

import inspect
import json

import keras
import pytest

from tests.contract.exports import exports_of, in_tf_privacy, thing_of
from tests.contract.harness import BACKEND, HAS_TF_PRIVACY
from tfdeep import privacy
from tfdeep.training import Head


def query_mechanism(**kwargs):
    """A mechanism around a query of TF Privacy."""
    tf_privacy = privacy.tf_privacy
    query = kwargs.pop("query", None) or tf_privacy.GaussianSumQuery(1.0, 0.5)
    return tf_privacy.QueryMechanism(query, **kwargs)


def plan(**kwargs):
    settings = {"num_examples": 600, "batch_size": 30, "steps": 20}
    settings |= {"delta": 1e-4, "noise_multiplier": 1.5, "accountant": "rdp"}
    return privacy.Plan(**{**settings, **kwargs})


def views(count=3):
    return privacy.Views(keras.layers.RandomFlip("horizontal", seed=1), count)


def tree_aggregation(noise_multiplier=0.5, restart_every=8):
    return privacy.TreeAggregation(noise_multiplier, restart_every)


# Each with one argument out of its range.
CONFIGURATIONS = {
    "AdaptiveClipping": (privacy.AdaptiveClipping, {"noise_multiplier": -1.0}),
    "AutomaticClipping": (privacy.AutomaticClipping, {"l2_norm_clip": 0}),
    "Averaging": (privacy.Averaging, {"limit": 1.5}),
    "FlatClipping": (privacy.FlatClipping, {"l2_norm_clip": -1.0}),
    "GaussianMechanism": (
        privacy.GaussianMechanism,
        {"noise_multiplier": -0.5},
    ),
    "Head": (
        lambda **kwargs: Head(keras.layers.Dense(3), "mse", **kwargs),
        {"alpha": -1},
    ),
    "PerLayerClipping": (privacy.PerLayerClipping, {"l2_norm_clip": "one"}),
    "Plan": (plan, {"delta": 2.0}),
    "Settings": (lambda: privacy.recipe("de2022", 8, 50_000), None),
    "TreeAggregation": (tree_aggregation, {"noise_multiplier": -1.0}),
    "Views": (views, {"count": 0}),
}
NOT_SAVED = {"Settings": "a plan and numbers; a model saves what it wraps"}
SAVED = [name for name in CONFIGURATIONS if name not in NOT_SAVED]


def test_every_configuration_has_a_case():
    names = exports_of("configuration")
    ours = {n.rpartition(".")[2] for n in names if not in_tf_privacy(n)}
    assert ours == set(CONFIGURATIONS)


@pytest.mark.parametrize("name", SAVED)
def test_settings(name):
    thing = CONFIGURATIONS[name][0]()
    config = thing.get_config()
    arguments = {
        key
        for key, parameter in inspect.signature(type(thing)).parameters.items()
        if parameter.kind != parameter.VAR_KEYWORD
    }
    assert arguments <= set(config)
    data = json.loads(json.dumps(keras.saving.serialize_keras_object(thing)))
    for twin in (
        keras.saving.deserialize_keras_object(data),
        type(thing).from_config(dict(config)),
    ):
        assert type(twin) is type(thing)
        assert json.dumps(twin.get_config()) == json.dumps(config)


@pytest.mark.parametrize("name", [n for n, c in CONFIGURATIONS.items() if c[1]])
def test_out_of_range(name):
    make, wrong = CONFIGURATIONS[name]
    with pytest.raises((ValueError, TypeError), match=next(iter(wrong))):
        make(**wrong)


@pytest.mark.skipif(BACKEND == "jax", reason="TF Privacy needs TensorFlow")
@pytest.mark.skipif(
    not HAS_TF_PRIVACY,
    reason="TF Privacy is not installed; it needs Python 3.11",
)
def test_query_mechanism():
    mechanism = query_mechanism()
    data = keras.saving.serialize_keras_object(mechanism)
    twin = keras.saving.deserialize_keras_object(json.loads(json.dumps(data)))
    assert type(twin) is type(mechanism)
    assert type(mechanism) is thing_of("privacy.tf_privacy.QueryMechanism")
    assert json.dumps(twin.get_config()) == json.dumps(mechanism.get_config())
