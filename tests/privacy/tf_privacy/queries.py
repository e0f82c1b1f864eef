"""Queries of TF Privacy, run by the native engine and by TF Privacy alone."""

import numpy as np
from keras import ops

from tests.helpers import images
from tests.privacy.tf_privacy.made import QUANTILE, quantile_query
from tfdeep.privacy import tf_privacy
from tfdeep.privacy.clipped_sum import clip_and_sum
from tfdeep.privacy.clipping import FlatClipping
from tfdeep.privacy.per_example.gradients import Gradients, Instances

# So many weights that one update shows the deviation of its noise.
SHAPES = [(40, 30), (3,)]
COUNT = 6
RECORDS = [images(COUNT, 40, 30), images(COUNT, 3, seed=1)]
# Norms of about 1 and of about 2, where the clips are.
RECORDS = [
    each / 35 * np.linspace(1, 2, COUNT, dtype="float32").reshape(-1, *ones)
    for each, ones in zip(RECORDS, ((1, 1), (1,)), strict=True)
]


def specs():
    import tensorflow as tf

    return [tf.TensorSpec(shape) for shape in SHAPES]


def gaussian(noise=0.0):
    return tf_privacy.GaussianSumQuery(1.5, 1.5 * noise)


def tree(noise=0.0, cls="TreeResidualSumQuery"):
    return getattr(tf_privacy, cls).build_l2_gaussian_query(1.5, noise, specs())


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


def none(noise=0.0):
    return tf_privacy.NoPrivacySumQuery()


QUERIES = [
    gaussian,
    quantile_query,
    tree,
    cumulative,
    restarted,
    restarted_by_time,
    adaptive_tree,
    none,
]
# One of each way in which noise comes about.
KINDS = [gaussian, quantile_query, tree, restarted]


def normal(shape):
    return ops.convert_to_tensor(
        np.random.default_rng().normal(size=tuple(shape)), "float32"
    )


def run(mechanism, state, present=None, rescaled=False, parts=1, draw=normal):
    """One update, of the whole batch or of parts of it."""
    present = np.ones(COUNT, "float32") if present is None else present
    clipping = FlatClipping(99.0, rescaled)
    found = [
        clip_and_sum(
            Gradients(
                [Instances(ops.convert_to_tensor(r[rows])) for r in RECORDS]
            ),
            ops.convert_to_tensor(present[rows]),
            clipping,
            [[0, 1]],
            mechanism,
            state,
        )
        for rows in np.array_split(np.arange(COUNT), parts)
    ]
    sums = [sum(each) for each in zip(*[f.sums for f in found], strict=True)]
    counts = [
        sum(each) for each in zip(*[f.counts for f in found], strict=True)
    ]
    clip = mechanism.clip_norm(99.0, state)
    clip = clipping.rescale(clip, clip)
    return mechanism.add_noise(sums, counts, state, clip, draw)


def first_update(query, **arguments):
    """What the first update of a query releases."""
    mechanism = tf_privacy.QueryMechanism(query)
    noised, _ = run(mechanism, mechanism.initial_state(SHAPES), **arguments)
    return [np.array(each) for each in noised]


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
