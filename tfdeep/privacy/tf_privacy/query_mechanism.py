"""A DPQuery of TF Privacy as a mechanism of the native engine."""

import math

import keras
import tensorflow as tf

from tfdeep import backend
from tfdeep.privacy.mechanisms import Mechanism
from tfdeep.privacy.tf_privacy import drawn_noise
from tfdeep.privacy.tf_privacy.fresh import fresh, initial_state
from tfdeep.privacy.tf_privacy.importing import submodule
from tfdeep.privacy.tf_privacy.queries import (
    clips_flat,
    innermost,
    is_a,
    is_exactly,
    restarts,
)
from tfdeep.privacy.tf_privacy.query_state import (
    DEFAULT_UPDATES,
    QueryState,
    levels,
)
from tfdeep.privacy.tf_privacy.recorded import seed_of

_ADAPTIVE = ("QuantileAdaptiveClipSumQuery", "QAdaClipTreeResSumQuery")
_AVERAGES = ("NormalizedQuery", "NoPrivacyAverageQuery")


@keras.saving.register_keras_serializable(package="tfdeep")
class QueryMechanism(Mechanism):
    """Clips and adds noise as a query of TF Privacy says.

    Use it for the mechanisms that TF Privacy has, at the speed of the native
    engine: `PrivateModel(model, mechanism=QueryMechanism(query))`. A private
    model that is compiled with one of TF Privacy's optimizers has one.

    One update is the query's own `get_noised_result` of

        sum_i preprocess_record(g_i),

    with g_i the gradient of example i. For the queries that clip to an L2
    norm, fixed or adaptive, with independent noise or in a tree, the engine
    clips to the norm that the query's state holds, which is the same and
    needs no gradient of a single example. Other queries get each gradient.
    The state is kept in weights of the private model. Noise is drawn from
    the model's own stream, not from TensorFlow's global seed or the clock,
    as TF Privacy would; a query with `noise_seed` keeps its seed.

    Reference:
        McMahan, Andrew, "A General Approach to Adding Differential Privacy to
        Iterative Training Procedures", 2018; Andrew, Thakkar, McMahan,
        Ramaswamy, "Differentially Private Learning with Adaptive Clipping",
        2021; Kairouz et al., "Practical and Private (Deep) Learning without
        Sampling or Shuffling", 2021. No deviation but where noise comes from.

    Args:
        query: a `DPQuery` of TF Privacy that sums.
        max_updates: the largest number of updates of a tree without
            restarts; its buffer has a level for each power of two. Defaults
            to 2**20.

    Raises:
        TypeError: if `query` is no `DPQuery` that sums.
        ValueError: if a plan comes with another noise, or with a query that
            the plan's accounting does not cover.

    Example:
        >>> from tfdeep.privacy import tf_privacy
        >>> query = tf_privacy.GaussianSumQuery(l2_norm_clip=2.0, stddev=3.0)
        >>> mechanism = tf_privacy.QueryMechanism(query)
        >>> mechanism.noise_multiplier, mechanism.l2_norm_clip
        (1.5, 2.0)
    """

    def __init__(self, query, max_updates: int | None = None):
        _check_query(query)
        self.query = query
        self.max_updates = max_updates
        self._core = innermost(query)
        self.adapts = is_exactly(self._core, *_ADAPTIVE)
        self._shapes: list[tuple] = []
        known = self.adapts or clips_flat(self._core)
        self.needs_records = not known
        self._fresh = fresh(query)
        self._start = initial_state(query)
        updates = restarts(query) or max_updates or DEFAULT_UPDATES
        constant = is_exactly(query, "GaussianSumQuery")
        self._packing = QueryState(self._start, updates, constant)
        self.secret = self._packing.holds_noise
        self.levels = levels(updates)
        self.l2_norm_clip = self._clip_of(self._start) if known else math.inf
        self.noise_multiplier = self._multiplier()

    def _clip_of(self, state):
        """The norm to clip to, in a state of the query."""
        params = self.query.derive_sample_params(state)
        clip = params.sum_params if self.adapts else params
        value = tf.get_static_value(clip)
        return clip if value is None else float(value)

    def _multiplier(self) -> float | None:
        """The noise in units of the sensitivity, where that is one number."""
        core = self._core
        if is_exactly(core, "GaussianSumQuery"):
            return float(core._stddev) / float(core._l2_norm_clip)
        if not is_exactly(core, "QuantileAdaptiveClipSumQuery"):
            return None
        below = core._quantile_estimator_query._below_estimate_query
        gaussians = [float(core._noise_multiplier)]
        gaussians += [float(below._numerator._stddev) / 0.5]
        # Two releases of one batch cost what one with this noise would.
        if not all(gaussians):
            return 0.0
        return sum(z**-2 for z in gaussians) ** -0.5

    @property
    def sum_multiplier(self) -> float | None:
        """The noise on the sums of a first update, where it is known."""
        core = self._core
        if self.adapts:
            return float(core._noise_multiplier)
        generator = getattr(core, "_tree_aggregator", None)
        if generator is None or self.needs_records:
            return None
        spread = generator.value_generator._noise_std
        return float(spread) / float(core._clip_value)

    def bind(self, plan, batch_size):
        # A list of its own: two models may have weights of unequal shapes.
        bound = self.changed(_shapes=list(self._shapes))
        if plan is None:
            return bound
        if self.noise_multiplier is None:
            raise ValueError(
                f"`plan` must be None with {type(self.query).__name__}: a "
                "plan accounts for independent noise in each update, which "
                "this query does not add. Received: a plan. Account for the "
                "training with the query's own rules."
            )
        if self.noise_multiplier < plan.noise_multiplier * (1 - 1e-6):
            raise ValueError(
                "The noise multiplier of a query must be at least that of "
                f"the plan, {plan.noise_multiplier:.6g}: less noise than was "
                "accounted for spends more privacy than the plan says. "
                f"Received: {type(self.query).__name__} with "
                f"{self.noise_multiplier:.6g}. Build the query or optimizer "
                "with `plan.noise_multiplier`."
            )
        return bound

    def initial_state(self, shapes):
        self._shapes[:] = [tuple(shape) for shape in shapes]
        drawn_noise.check_shapes(self._core, self._shapes)
        arrays = self._packing.pack(initial_state(self.query))
        return [keras.ops.convert_to_numpy(each) for each in arrays]

    def clip_norm(self, clip, state):
        if self.needs_records:
            return math.inf
        return self._clip_of(self._packing.unpack(state))

    def counts(self, norms, clip, present):
        if not self.adapts:
            return []
        params = self.query.derive_sample_params(self._start)
        below = self._core._quantile_estimator_query.preprocess_record
        params = params.quantile_estimator_params._replace(
            current_estimate=tf.cast(clip, "float32")
        )
        norms = tf.cast(norms, "float32")
        each = tf.map_fn(lambda norm: below(params, norm), norms)
        return [tf.reduce_sum(each * tf.cast(present, "float32"))]

    def accumulate(self, records, present, state):
        query = self.query
        params = query.derive_sample_params(self._packing.unpack(state))
        start = query.initial_sample_state([record[0] for record in records])

        def body(index, sums):
            record = [each[index] for each in records]
            added = query.accumulate_record(params, sums, record)
            real = present[index] > 0
            return index + 1, tf.nest.map_structure(
                lambda new, old: tf.where(real, new, old), added, sums
            )

        count = tf.shape(records[0])[0]
        _, sums = tf.while_loop(
            lambda index, _: index < count, body, [0, start]
        )
        return tf.nest.flatten(sums), []

    def add_noise(self, sums, counts, state, sensitivity, draw):
        structure = self._packing.unpack(state)
        scale = self._scale(structure, sensitivity)
        sums = [tf.cast(each, "float32") * scale for each in sums]
        sample = self._sample_state(sums, counts)
        if seed_of(self.query) is None:
            structure = drawn_noise.reseeded(structure, draw)
        if self.needs_records:
            noised, after = self._own_noise(sample, structure)
        else:
            noised, after = drawn_noise.noised(
                self.query, self._core, sample, structure, draw
            )
        noised = [each / scale for each in tf.nest.flatten(noised)]
        return noised, self._packing.pack(after)

    def _own_noise(self, sample, structure):
        """A query that is not known draws by itself, on one device."""
        if backend.replica_count() > 1:
            raise NotImplementedError(
                "A query that draws its noise by itself must run on one "
                "device: it would draw another on each. Received: "
                f"{type(self.query).__name__} on several. Train on one "
                "device, or use a query of TF Privacy's own."
            )
        return self._fresh.get_noised_result(sample, structure)[:2]

    def _scale(self, structure, sensitivity):
        """What undoes a rescaling of the clipped sums by the engine."""
        if self.needs_records:
            return 1.0
        return self._clip_of(structure) / sensitivity

    def _sample_state(self, sums, counts):
        if self.needs_records:
            template = [tf.zeros(shape) for shape in self._shapes]
            return tf.nest.pack_sequence_as(
                self.query.initial_sample_state(template), sums
            )
        if not self.adapts:
            return sums
        return self._core._SampleState(sums, tf.cast(counts[0], "float32"))

    def get_config(self):
        return {
            "query": keras.saving.serialize_keras_object(self.query),
            "max_updates": self.max_updates,
        }

    @classmethod
    def from_config(cls, config):
        query = keras.saving.deserialize_keras_object(config["query"])
        return cls(query, config["max_updates"])


def _check_query(query) -> None:
    base = submodule("dp_query.dp_query").SumAggregationDPQuery
    if not isinstance(query, base) or is_a(query, *_AVERAGES):
        raise TypeError(
            "`query` must be a DPQuery of TF Privacy that sums records; the "
            "mean is taken afterwards. Received: "
            f"query={type(query).__name__}. Pass for example "
            "tf_privacy.GaussianSumQuery(1.0, 1.1)."
        )
