"""Queries are saved, fit to a plan, and refused where they do not fit."""

import keras
import pytest

from tests.privacy.tf_privacy.made import QUANTILE, quantile_query
from tests.privacy.tf_privacy.queries import QUERIES, gaussian, tree
from tfdeep.privacy import tf_privacy


@pytest.mark.parametrize("make", QUERIES, ids=lambda make: make.__name__)
def test_config_makes_the_same(make):
    mechanism = tf_privacy.QueryMechanism(make(0.5), max_updates=100)
    config = keras.saving.serialize_keras_object(mechanism)
    again = keras.saving.deserialize_keras_object(config)
    assert keras.saving.serialize_keras_object(again) == config
    assert type(again.query) is type(mechanism.query)
    for name in ("noise_multiplier", "l2_norm_clip", "levels", "max_updates"):
        assert getattr(again, name) == getattr(mechanism, name)


def test_config_of_a_nested_query_makes_the_same():
    nested = tf_privacy.NestedQuery([gaussian(0.5), quantile_query(0.5)])
    config = keras.saving.serialize_keras_object(nested)
    again = keras.saving.deserialize_keras_object(config)
    assert keras.saving.serialize_keras_object(again) == config


def test_multiplier_of_two_releases():
    query = tf_privacy.QuantileAdaptiveClipSumQuery(**QUANTILE)
    mechanism = tf_privacy.QueryMechanism(query)
    # 0.5 for the sum, 0.5 / 0.5 for the count: 1 / sqrt(4 + 1).
    assert mechanism.noise_multiplier == pytest.approx(5**-0.5)
    assert mechanism.sum_multiplier == 0.5


def test_a_plan_with_more_noise_is_refused(budget):
    mechanism = tf_privacy.QueryMechanism(gaussian(0.9))
    with pytest.raises(ValueError, match="less noise than was accounted"):
        mechanism.bind(budget(), 8)
    tf_privacy.QueryMechanism(gaussian(1.0)).bind(budget(), 8)
    mechanism.bind(None, None)


def test_a_plan_for_a_tree_is_refused(budget):
    mechanism = tf_privacy.QueryMechanism(tree(1.0))
    with pytest.raises(ValueError, match="independent noise"):
        mechanism.bind(budget(), 8)


def test_a_tree_for_other_weights_is_refused():
    mechanism = tf_privacy.QueryMechanism(tree(1.0))
    with pytest.raises(ValueError, match="shapes"):
        mechanism.initial_state([(40, 30), (5,)])


def test_a_query_of_averages_is_refused():
    query = tf_privacy.NormalizedQuery(gaussian(1.0), 8)
    with pytest.raises(TypeError, match="sums records"):
        tf_privacy.QueryMechanism(query)
    with pytest.raises(TypeError, match="sums records"):
        tf_privacy.QueryMechanism("gaussian")
