"""TF Privacy's queries with noise that nobody can draw again.

TF Privacy draws from TensorFlow's global seed, or from the clock. After
`keras.utils.set_random_seed` the first kind can be predicted, and a function
that is compiled again draws the same noise again. Here the query runs in a
graph of its own that has no seed: TensorFlow then starts each stream of
random numbers from the system's entropy.
"""

import secrets

import tensorflow as tf

from tfdeep.privacy.tf_privacy.importing import submodule
from tfdeep.privacy.tf_privacy.query_state import with_seeds
from tfdeep.privacy.tf_privacy.recorded import seed_of

LARGEST = 2**62


def secret_seeds():
    """Two seeds from the system's entropy, now."""
    return tf.constant([secrets.randbelow(LARGEST) for _ in range(2)])


def drawn_seeds():
    """Two seeds from the stream of the graph that this is in."""
    return tf.random.uniform((2,), maxval=LARGEST, dtype=tf.int64)


def initial_state(query):
    """The initial state; what it holds of noise is drawn anew."""
    state = query.initial_global_state()
    if seed_of(query) is not None:
        return state
    return _redrawn(with_seeds(state, secret_seeds))


def _redrawn(structure):
    """Noise trees begin with a node that was drawn from the clock."""
    if not isinstance(structure, (tuple, list)):
        return structure
    if hasattr(structure, "level_buffer"):
        return _new_tree(structure)
    inner = [_redrawn(each) for each in structure]
    named = hasattr(structure, "_fields")
    return type(structure)(*inner) if named else type(structure)(inner)


def _new_tree(tree):
    spread = getattr(tree.value_generator_state, "stddev", None)
    if spread is None:
        return tree
    nodes = tf.nest.map_structure(
        lambda node: tf.random.stateless_normal(
            tf.shape(node), secret_seeds(), stddev=spread
        ),
        tree.level_buffer,
    )
    return tree._replace(level_buffer=nodes)


def fresh(query):
    """Wrap a query of TF Privacy so that its noise cannot be repeated."""
    base = submodule("dp_query.dp_query").SumAggregationDPQuery

    class Fresh(base):
        """A query that asks another, whose noise it keeps fresh."""

        def __init__(self, inner):
            self.inner = inner
            self._noised = tf.function(self._run, autograph=False)

        def initial_global_state(self):
            return initial_state(self.inner)

        def derive_sample_params(self, global_state):
            return self.inner.derive_sample_params(global_state)

        def initial_sample_state(self, template=None):
            return self.inner.initial_sample_state(template)

        def preprocess_record(self, params, record):
            return self.inner.preprocess_record(params, record)

        def accumulate_preprocessed_record(self, sample_state, record):
            return self.inner.accumulate_preprocessed_record(
                sample_state, record
            )

        def derive_metrics(self, global_state):
            return self.inner.derive_metrics(global_state)

        def get_noised_result(self, sample_state, global_state):
            return (*self._noised(sample_state, global_state), None)

        def _run(self, sample_state, global_state):
            tf.compat.v1.get_default_graph().seed = None
            if seed_of(self.inner) is None:
                global_state = with_seeds(global_state, drawn_seeds)
            result, state, _ = self.inner.get_noised_result(
                sample_state, global_state
            )
            return result, state

    return Fresh(query)
