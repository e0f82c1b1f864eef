"""The noise of a query, drawn from a stream that the caller has.

A private model draws its noise once, on whatever devices it runs. The
queries draw by themselves: normal queries from TensorFlow's global seed,
trees from the seeds in their state. Normal noise is therefore added before
the query is asked, with a standard deviation of 0 in its state; trees are
given new seeds each time. The rest is TF Privacy's code.
"""

import tensorflow as tf

from tfdeep.privacy.tf_privacy.queries import is_exactly
from tfdeep.privacy.tf_privacy.query_state import with_seeds


def reseeded(structure, draw):
    """The state with seeds made from the bits of normal numbers."""

    def make():
        bits = tf.bitcast(tf.cast(draw((8,)), "float32"), "int32")
        words = tf.reshape(tf.cast(bits, "int64"), (2, 4))
        # Each number carries about 24 bits that nobody knows.
        return tf.reduce_sum(words * [1, 2**15, 2**30, 2**45], axis=1)

    return with_seeds(structure, make)


def noised(query, core, sample, structure, draw):
    """The query's `get_noised_result`, without the event it also returns."""
    if is_exactly(core, "GaussianSumQuery") and core is query:
        sample = _add_normal(sample, structure.stddev, draw)
        result, _ = _ask(query, sample, _silent(structure))
        return result, structure
    if is_exactly(core, "QuantileAdaptiveClipSumQuery") and core is query:
        return _quantile(query, sample, structure, draw)
    return _ask(query, sample, structure)


def _ask(query, sample, structure):
    result, after, _ = query.get_noised_result(sample, structure)
    return result, after


def _add_normal(sample, stddev, draw):
    return tf.nest.map_structure(
        lambda v: v + stddev * tf.cast(draw(tf.shape(v)), v.dtype), sample
    )


def _silent(gaussian_state):
    return gaussian_state._replace(stddev=tf.zeros(()))


def _quantile(query, sample, structure, draw):
    """Noise on the sum and on the count of those below the clip."""
    estimator = structure.quantile_estimator_state
    below = estimator.below_estimate_state
    count = below.numerator_state
    sample = type(sample)(
        _add_normal(sample.sum_state, structure.sum_state.stddev, draw),
        _add_normal(sample.quantile_estimator_state, count.stddev, draw),
    )
    silent_below = below._replace(numerator_state=_silent(count))
    silent = structure._replace(
        sum_state=_silent(structure.sum_state),
        quantile_estimator_state=estimator._replace(
            below_estimate_state=silent_below
        ),
    )
    result, after = _ask(query, sample, silent)
    estimator = after.quantile_estimator_state
    return result, after._replace(
        quantile_estimator_state=estimator._replace(below_estimate_state=below)
    )


def check_shapes(core, shapes) -> None:
    """Raise `ValueError` if a tree was made for other weights."""
    specs = getattr(core, "_record_specs", None)
    specs = getattr(getattr(core, "_sum_query", None), "_record_specs", specs)
    if specs is None:
        return
    made_for = [tuple(spec.shape) for spec in tf.nest.flatten(specs)]
    if made_for != [tuple(shape) for shape in shapes]:
        raise ValueError(
            f"The noise of {type(core).__name__} must have the shapes of the "
            f"weights that the model trains, {list(shapes)}. Received: noise "
            f"for shapes {made_for}. Make the query or optimizer from this "
            "model."
        )
