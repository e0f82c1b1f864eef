"""A query on the native engine gives what it gives in TF Privacy."""

import keras
import numpy as np
import pytest
from keras import ops

from tests.helpers import images
from tests.privacy.tf_privacy.test_optimizers import QUANTILE
from tfdeep.privacy import tf_privacy
from tfdeep.privacy.clipped_sum import clip_and_sum
from tfdeep.privacy.clipping import FlatClipping
from tfdeep.privacy.tf_privacy.queries import their_class

SHAPES = [(4, 3), (3,)]
RECORDS = [images(12, 4, 3), images(12, 3, seed=1)]


def specs():
    import tensorflow as tf

    return [tf.TensorSpec(shape) for shape in SHAPES]


def gaussian(noise=0.0):
    return tf_privacy.GaussianSumQuery(2.0, 2.0 * noise)


def quantile(noise=0.0):
    settings = {"noise_multiplier": noise, "clipped_count_stddev": noise}
    return tf_privacy.QuantileAdaptiveClipSumQuery(**{**QUANTILE, **settings})


def tree(noise=0.0, cls="TreeResidualSumQuery"):
    return getattr(tf_privacy, cls).build_l2_gaussian_query(2.0, noise, specs())


def cumulative(noise=0.0):
    return tree(noise, "TreeCumulativeSumQuery")


def restarted(noise=0.0):
    indicator = tf_privacy.PeriodicRoundRestartIndicator(2)
    return tf_privacy.RestartQuery(tree(noise), indicator)


def restarted_by_time(noise=0.0):
    indicator = tf_privacy.PeriodicTimeRestartIndicator(1e-6)
    return tf_privacy.RestartQuery(tree(noise), indicator)


def adaptive_tree(noise=0.0):
    settings = {"noise_multiplier": noise, "clipped_count_stddev": noise}
    query = tf_privacy.QAdaClipTreeResSumQuery(
        record_specs=specs(), **{**QUANTILE, **settings}
    )
    indicator = tf_privacy.PeriodicRoundRestartIndicator(2)
    return tf_privacy.RestartQuery(query, indicator)


def nested(noise=0.0):
    return tf_privacy.NestedQuery([gaussian(noise), quantile(noise)])


def none(noise=0.0):
    return tf_privacy.NoPrivacySumQuery()


QUERIES = [
    gaussian,
    quantile,
    tree,
    cumulative,
    restarted,
    restarted_by_time,
    adaptive_tree,
    none,
]


class Gradients:
    """Those of the examples, as the engine gives them."""

    def __init__(self, records):
        self._records = [ops.convert_to_tensor(each) for each in records]

    def square_norms(self):
        return [
            ops.sum(ops.square(each), axis=range(1, len(each.shape)))
            for each in self._records
        ]

    def records(self, kept):
        return self._masked(ops.cast(kept, "float32"))

    def weighted_sums(self, factors, kept):
        return [
            ops.sum(each, axis=0)
            for each in map(self._scaled, self._records, factors)
        ]

    def _masked(self, mask):
        return [self._scaled(each, mask) for each in self._records]

    @staticmethod
    def _scaled(value, factor):
        return value * ops.reshape(factor, (-1, *[1] * (value.ndim - 1)))


def normal(shape):
    return ops.convert_to_tensor(
        np.random.default_rng().normal(size=tuple(shape)), "float32"
    )


def run(mechanism, state, present=None, rescaled=False, parts=1, draw=normal):
    """One update, of the whole batch or of parts of it."""
    present = np.ones(12, "float32") if present is None else present
    clipping = FlatClipping(99.0, rescaled)
    found = [
        clip_and_sum(
            Gradients([each[rows] for each in RECORDS]),
            ops.convert_to_tensor(present[rows]),
            clipping,
            [[0, 1]],
            mechanism,
            state,
        )
        for rows in np.array_split(np.arange(12), parts)
    ]
    sums = [sum(each) for each in zip(*[f.sums for f in found], strict=True)]
    counts = [
        sum(each) for each in zip(*[f.counts for f in found], strict=True)
    ]
    clip = mechanism.clip_norm(99.0, state)
    clip = clipping.rescale(clip, clip)
    return mechanism.add_noise(sums, counts, state, clip, draw)


def reference(query, global_state, records):
    """TF Privacy alone, as its documentation says."""
    params = query.derive_sample_params(global_state)
    sample = query.initial_sample_state(
        [np.zeros(s, "float32") for s in SHAPES]
    )
    for record in zip(*records, strict=True):
        sample = query.accumulate_record(params, sample, list(record))
    result, global_state, _ = query.get_noised_result(sample, global_state)
    return result, global_state


@pytest.mark.parametrize("make", QUERIES)
@pytest.mark.parametrize("parts", [1, 3])
def test_updates_equal_tf_privacy_without_noise(make, parts):
    query = make()
    mechanism = tf_privacy.QueryMechanism(query)
    state = mechanism.initial_state(SHAPES)
    theirs = query.initial_global_state()
    for _ in range(5):
        ours, state = run(mechanism, state, parts=parts)
        expected, theirs = reference(query, theirs, RECORDS)
        for a, b in zip(ours, expected, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-5)


@pytest.mark.parametrize("make", QUERIES)
def test_padding_is_no_record(make):
    present = np.array([1.0] * 7 + [0.0] * 5, "float32")
    query = make()
    mechanism = tf_privacy.QueryMechanism(query)
    state = mechanism.initial_state(SHAPES)
    theirs = query.initial_global_state()
    for _ in range(3):
        ours, state = run(mechanism, state, present)
        expected, theirs = reference(query, theirs, [r[:7] for r in RECORDS])
        for a, b in zip(ours, expected, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-5)


@pytest.mark.parametrize("make", [gaussian, quantile, tree, restarted])
def test_rescaled_sums_are_divided_by_the_clip(make):
    mechanism = tf_privacy.QueryMechanism(make())
    state = mechanism.initial_state(SHAPES)
    clip = float(mechanism.clip_norm(99.0, state))
    plain, _ = run(mechanism, state)
    small, _ = run(mechanism, state, rescaled=True)
    for a, b in zip(plain, small, strict=True):
        np.testing.assert_allclose(np.array(a) / clip, b, atol=1e-5)


@pytest.mark.parametrize("make", [gaussian, quantile, tree, restarted])
@pytest.mark.parametrize("rescaled", [False, True])
def test_noise_has_the_deviation_that_was_asked_for(make, rescaled):
    mechanism = tf_privacy.QueryMechanism(make(1.5))
    quiet = tf_privacy.QueryMechanism(make(0.0))
    expected, _ = run(quiet, quiet.initial_state(SHAPES), rescaled=rescaled)
    differences = []
    for _ in range(60):
        state = mechanism.initial_state(SHAPES)
        noised, _ = run(mechanism, state, rescaled=rescaled)
        differences += [
            np.ravel(np.array(a) - np.array(b))
            for a, b in zip(noised, expected, strict=True)
        ]
    differences = np.concatenate(differences)
    scale = 1.5 * (1.0 if rescaled else mechanism.l2_norm_clip)
    error = scale / np.sqrt(2 * differences.size)
    assert abs(np.std(differences) - scale) < 5 * error


@pytest.mark.parametrize("make", QUERIES[:-1])
def test_noise_is_fresh(make):
    keras.utils.set_random_seed(1)
    mechanism = tf_privacy.QueryMechanism(make(1.0))
    first, second = (
        run(mechanism, mechanism.initial_state(SHAPES))[0] for _ in range(2)
    )
    assert not np.any(np.array(first[0]) == np.array(second[0]))


@pytest.mark.parametrize("make", [gaussian, quantile, tree, restarted])
def test_noise_after_the_first_is_of_the_stream_that_is_given(make):
    mechanism = tf_privacy.QueryMechanism(make(1.0))
    state = mechanism.initial_state(SHAPES)

    def fixed(shape):
        rng = np.random.default_rng(7)
        return ops.convert_to_tensor(rng.normal(size=tuple(shape)), "float32")

    found = []
    for _ in range(2):
        _, after = run(mechanism, state, draw=fixed)
        found.append(run(mechanism, after, draw=fixed)[0])
    np.testing.assert_array_equal(found[0][0], found[1][0])


@pytest.mark.parametrize("make", QUERIES)
def test_config_makes_the_same(make):
    mechanism = tf_privacy.QueryMechanism(make(0.5), max_updates=100)
    config = keras.saving.serialize_keras_object(mechanism)
    again = keras.saving.deserialize_keras_object(config)
    assert keras.saving.serialize_keras_object(again) == config
    assert again.noise_multiplier == mechanism.noise_multiplier
    assert again.levels == mechanism.levels


def test_config_of_a_nested_query_makes_the_same():
    config = keras.saving.serialize_keras_object(nested(0.5))
    again = keras.saving.deserialize_keras_object(config)
    assert keras.saving.serialize_keras_object(again) == config


@pytest.mark.parametrize("make", QUERIES)
def test_state_has_a_constant_shape(make):
    mechanism = tf_privacy.QueryMechanism(make(1.0), max_updates=8)
    state = mechanism.initial_state(SHAPES)
    shapes = [each.shape for each in state]
    for _ in range(8):
        _, state = run(mechanism, state)
        assert [tuple(each.shape) for each in state] == shapes


def test_a_full_tree_is_an_error():
    mechanism = tf_privacy.QueryMechanism(tree(1.0), max_updates=1)
    state = mechanism.initial_state(SHAPES)
    with pytest.raises(Exception, match="noise tree is full"):
        for _ in range(20):
            _, state = run(mechanism, state)


def test_multiplier_of_two_releases():
    query = tf_privacy.QuantileAdaptiveClipSumQuery(**QUANTILE)
    mechanism = tf_privacy.QueryMechanism(query)
    # 0.5 for the sum, 0.5 / 0.5 for the count: 1 / sqrt(4 + 1).
    assert mechanism.noise_multiplier == pytest.approx(5**-0.5)


class Plan:
    noise_multiplier = 1.0


def test_a_plan_with_more_noise_is_refused():
    mechanism = tf_privacy.QueryMechanism(gaussian(0.9))
    with pytest.raises(ValueError, match="Less noise than was accounted"):
        mechanism.bind(Plan(), 8)
    tf_privacy.QueryMechanism(gaussian(1.0)).bind(Plan(), 8)
    mechanism.bind(None, None)


def test_a_plan_for_a_tree_is_refused():
    mechanism = tf_privacy.QueryMechanism(tree(1.0))
    with pytest.raises(ValueError, match="independent noise"):
        mechanism.bind(Plan(), 8)


def test_a_tree_for_other_weights_is_refused():
    mechanism = tf_privacy.QueryMechanism(tree(1.0))
    with pytest.raises(ValueError, match="shapes"):
        mechanism.initial_state([(4, 3), (5,)])


def test_a_query_of_averages_is_refused():
    query = tf_privacy.NormalizedQuery(gaussian(1.0), 8)
    with pytest.raises(TypeError, match="sums records"):
        tf_privacy.QueryMechanism(query)
    with pytest.raises(TypeError, match="sums records"):
        tf_privacy.QueryMechanism("gaussian")


def test_a_class_of_ones_own_is_not_taken_for_its_base():
    class Halved(their_class("GaussianSumQuery")):
        def preprocess_record(self, params, record):
            record = super().preprocess_record(params, record)
            return [each / 2 for each in record]

    mechanism = tf_privacy.QueryMechanism(Halved(2.0, 0.0))
    assert mechanism.needs_records
    ours, _ = run(mechanism, mechanism.initial_state(SHAPES))
    plain = tf_privacy.QueryMechanism(gaussian())
    expected, _ = run(plain, plain.initial_state(SHAPES))
    for a, b in zip(ours, expected, strict=True):
        np.testing.assert_allclose(a, np.array(b) / 2, atol=1e-5)


def test_noise_of_a_foreign_query_is_fresh():
    class Own(their_class("GaussianSumQuery")):
        pass

    found = []
    for _ in range(2):
        keras.utils.set_random_seed(1)
        mechanism = tf_privacy.QueryMechanism(Own(2.0, 1.0))
        found.append(run(mechanism, mechanism.initial_state(SHAPES))[0][0])
    assert not np.any(np.array(found[0]) == np.array(found[1]))


def test_a_tree_with_another_clip_gets_every_record():
    query = their_class("TreeResidualSumQuery").build_l2_gaussian_query(
        2.0, 0.0, specs()
    )
    assert tf_privacy.QueryMechanism(query).needs_records


def test_a_foreign_query_gets_every_record():
    class Foreign(their_class("NoPrivacySumQuery")):
        def preprocess_record(self, params, record):
            return [ops.sign(each) for each in record]

    mechanism = tf_privacy.QueryMechanism(Foreign())
    assert mechanism.needs_records
    ours, _ = run(mechanism, mechanism.initial_state(SHAPES))
    for a, b in zip(ours, RECORDS, strict=True):
        np.testing.assert_allclose(a, np.sign(b).sum(axis=0), atol=1e-5)
