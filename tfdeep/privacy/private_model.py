"""A Keras model that is trained with differential privacy."""

import inspect
import math

import keras
from keras import ops, tree

from tfdeep import backend
from tfdeep.checks import check_positive, check_seed
from tfdeep.privacy.clipped_sum import clip_and_sum, groups_of, presence
from tfdeep.privacy.clipping import as_clipping
from tfdeep.privacy.ledger import Ledger
from tfdeep.privacy.mechanisms import GaussianMechanism, Mechanism
from tfdeep.privacy.noise import NoiseSource
from tfdeep.privacy.per_example import engine_for
from tfdeep.training.taps import input_shape_of, symbols


@keras.saving.register_keras_serializable(package="tfdeep")
class PrivateModel(backend.OwnStep):
    """Trains a model with differential privacy, in an ordinary `fit`."""

    def __init__(
        self,
        base: keras.Model,
        plan=None,
        l2_norm_clip=1.0,
        mechanism="gaussian",
        method: str = "auto",
        augmentation=None,
        microbatch_size: int | None = None,
        seed: int | None = None,
        **kwargs,
    ):
        if not isinstance(base, keras.Model):
            raise TypeError(
                f"`base` came as {type(base).__name__}. PrivateModel wraps a "
                "keras.Model. Pass one."
            )
        if microbatch_size is not None:
            check_positive("microbatch_size", microbatch_size)
        check_seed(seed)
        super().__init__(autocast=False, dtype=base.dtype_policy, **kwargs)
        self.base = base
        self.plan = plan
        self.clipping = as_clipping(l2_norm_clip)
        self.mechanism = as_mechanism(mechanism)
        self.method = method
        self.augmentation = augmentation
        self.microbatch_size = microbatch_size
        self.supports_masking = True
        self.noise = NoiseSource(seed)
        self.noise_generator = self.noise.generator
        self.clipped_fraction = keras.metrics.Mean("clipped_fraction")
        self._sees_examples = False
        self._engine = None
        self._bound = False
        shape = input_shape_of(base) if base.built else None
        if shape is not None:
            self.build(shape)

    def build(self, input_shape):
        if self._engine is not None:
            return
        if not self.base.built:
            self.base(symbols(input_shape))
        self.updates_taken = self._counter("updates_taken")
        self.batches_seen = self._counter("batches_seen")
        self.non_finite_examples = self._counter("non_finite_examples")
        shapes = [tuple(v.shape) for v in self.base.trainable_variables]
        self.mechanism_state = [
            self._keep(f"mechanism_{index}", value, "float32")
            for index, value in enumerate(self.mechanism.initial_state(shapes))
        ]
        self._engine = engine_for(self.base, self, self.method)

    def _counter(self, name):
        return self._keep(name, 0, "int32")

    def _keep(self, name, value, dtype):
        return self.add_weight(
            shape=getattr(value, "shape", ()),
            initializer=lambda shape, dtype: ops.convert_to_tensor(
                value, dtype
            ),
            dtype=dtype,
            trainable=False,
            autocast=False,
            aggregation="only_first_replica",
            name=name,
        )

    def call(self, inputs, training=None):
        return self.base(inputs, training=training)

    def compute_mask(self, inputs, mask=None):
        return None

    def compute_output_shape(self, input_shape):
        return self.base.compute_output_shape(input_shape)

    @property
    def losses(self):
        """Losses that layers added; none while the loss is of one example."""
        return [] if self._sees_examples else super().losses

    # The engine.

    def _differentiate(self, x, y, weight):
        """Per-example gradients, from which nothing has been released."""
        if not self.built:
            self.build(tree.map_structure(lambda t: t.shape, x))
        trainable, state = backend.read_variables(self.base)
        self._sees_examples = True
        try:
            return self._engine.run(trainable, state, x, y, weight)
        finally:
            self._sees_examples = False

    def _summed(self, x, y, weight):
        batch = self._differentiate(x, y, weight)
        count = ops.shape(batch.losses)[0]
        clipped = clip_and_sum(
            batch.gradients,
            presence(weight, count),
            self.clipping,
            groups_of(self.base.trainable_variables, self.clipping.per_layer),
            self.mechanism,
            [each.value for each in self.mechanism_state],
        )
        return clipped, batch

    def clipped_sum(self, x, y, sample_weight=None) -> list:
        """The clipped sum of gradients over a batch, without noise.

        Args:
            x: inputs of a batch.
            y: targets.
            sample_weight: optional weights of the examples.

        Returns:
            A list of tensors, one per trainable weight. Not private.
        """
        return self._examine(x, y, sample_weight).sums

    def per_example_norms(self, x, y, sample_weight=None):
        """The norm of the gradient of each example, before the clip.

        Args:
            x: inputs of a batch.
            y: targets.
            sample_weight: optional weights of the examples.

        Returns:
            A tensor (batch,). Not private.
        """
        return self._examine(x, y, sample_weight).norms

    def _examine(self, x, y, sample_weight):
        parts = tree.map_structure(
            lambda t: None if t is None else ops.convert_to_tensor(t),
            (x, y, sample_weight),
        )
        return self._summed(*parts)[0]

    # Training.

    def compile(self, *args, **kwargs):
        super().compile(*args, **kwargs)

    def update(self, data) -> dict:
        x, y, weight = keras.utils.unpack_x_y_sample_weight(data)
        clipped, batch = self._summed(x, y, weight)
        trainable = self.base.trainable_variables
        grads = self._release(clipped, ops.shape(batch.losses)[0])
        self.optimizer.apply(grads, trainable)
        self._advance(batch.state)
        self._note(clipped, batch)
        return self.compute_metrics(x, y, batch.outputs, weight)

    def _release(self, clipped, rows):
        """The noised mean: what alone leaves this model of the examples."""
        self._bind()
        state = [each.value for each in self.mechanism_state]
        clip = self.mechanism.clip_norm(self.clipping.l2_norm_clip, state)
        count = len(clipped.sums)
        totals = backend.sum_over_replicas([*clipped.sums, *clipped.counts])
        sums, counts = totals[:count], totals[count:]
        noised, new_state = self.mechanism.add_noise(
            sums, counts, state, self.clipping.rescale(clip, clip), self._draw
        )
        noisy = self._noise_is_due()
        allowed = self._allowed()
        for variable, value in zip(
            self.mechanism_state, new_state, strict=True
        ):
            variable.assign(value)
        due = ops.cast(ops.logical_and(noisy, allowed), "int32")
        self.batches_seen.assign(self.batches_seen + 1)
        self.updates_taken.assign(self.updates_taken + due)
        divisor = self._divisor(rows) * backend.replica_count()
        return [
            ops.where(allowed, ops.where(noisy, new, old), 0.0)
            / ops.cast(divisor, old.dtype)
            for old, new in zip(sums, noised, strict=True)
        ]

    def _bind(self):
        size = None if self.plan is None else self.plan.batch_size
        if not self._bound:
            self.mechanism.bind(self.plan, size)
            self._bound = True

    def _draw(self, shape):
        return backend.sum_over_replicas(
            [backend.on_first_replica(self.noise.normal(shape))]
        )[0]

    def _accumulation(self) -> int:
        return self.optimizer.gradient_accumulation_steps or 1

    def _noise_is_due(self):
        """Whether the optimizer moves the weights at this batch."""
        return (self.batches_seen.value + 1) % self._accumulation() == 0

    def _allowed(self):
        """Whether the plan covers one more update; else nothing is shown."""
        limit = math.inf if self.plan is None else self.plan.steps
        limit = min(limit, 2**31 - 1)
        return self.updates_taken.value < limit

    def _divisor(self, rows):
        """The expected size of a batch, which says nothing of the data."""
        if self.plan is None:
            return rows
        return self.plan.batch_size / self._accumulation()

    def _advance(self, state):
        """Keep the new states of random streams."""
        variables = self.base.non_trainable_variables
        for index in self._engine.seeds:
            variables[index].assign(state[index])

    def _note(self, clipped, batch):
        present = ops.maximum(clipped.present, 1.0)
        self.clipped_fraction.update_state(
            clipped.clipped / present, sample_weight=clipped.present
        )
        self.non_finite_examples.assign_add(
            ops.cast(clipped.not_finite, "int32")
        )
        finite = ops.where(ops.isfinite(batch.losses), batch.losses, 0.0)
        loss = ops.sum(finite) / ops.cast(present, finite.dtype)
        for metric in self.metrics:
            if metric.name == "loss":
                metric.update_state(loss, sample_weight=clipped.present)

    def updates_left(self) -> float:
        """How many updates the plan still covers."""
        if self.plan is None:
            return math.inf
        return self.plan.steps - self._taken()

    def _taken(self) -> int:
        if not self.built:
            return 0
        return int(ops.convert_to_numpy(self.updates_taken.value))

    def updates_per_execution(self) -> float:
        """How many updates the compiled step may take at once."""
        return max(1, self.steps_per_execution / self._accumulation())

    def epsilon(self) -> float:
        """The privacy spent so far; infinite without a plan."""
        if self.plan is None:
            return math.inf
        return self.plan.epsilon_after(self._taken())

    def epoch_logs(self) -> dict[str, float]:
        """What is logged once an epoch, beside the metrics."""
        return {} if self.plan is None else {"epsilon": self.epsilon()}

    def fit(self, *args, **kwargs):
        bound = inspect.signature(super().fit).bind(*args, **kwargs)
        self._check_left()
        self.noise.refresh()
        callbacks = bound.arguments.get("callbacks")
        if isinstance(callbacks, keras.callbacks.CallbackList):
            callbacks.append(Ledger())
        else:
            callbacks = [Ledger(), *tree.flatten(callbacks or [])]
            bound.arguments["callbacks"] = callbacks
        return super().fit(*bound.args, **bound.kwargs)

    def train_on_batch(self, *args, **kwargs):
        self._check_left()
        return super().train_on_batch(*args, **kwargs)

    def _check_left(self):
        left = self.updates_left()
        if left < self.updates_per_execution():
            raise RuntimeError(
                f"`fit` came with {left} updates left of the {self.plan.steps} "
                "that the plan covers. One more would spend more privacy than "
                "was planned. Stop here, or begin again with another Plan."
            )

    def get_config(self):
        serialize = keras.saving.serialize_keras_object
        return {
            "base": serialize(self.base),
            "plan": serialize(self.plan),
            "l2_norm_clip": serialize(self.clipping),
            "mechanism": serialize(self.mechanism),
            "method": self.method,
            "augmentation": serialize(self.augmentation),
            "microbatch_size": self.microbatch_size,
            "seed": self.noise.seed,
            "name": self.name,
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        config = dict(config)
        for name in (
            "base",
            "plan",
            "l2_norm_clip",
            "mechanism",
            "augmentation",
        ):
            config[name] = keras.saving.deserialize_keras_object(
                config[name], custom_objects
            )
        return cls(**config)

    def compile_from_config(self, config):
        self.compile(**keras.saving.deserialize_keras_object(config))
        if self.optimizer is not None and self.built:
            self.optimizer.build(self.trainable_variables)


def as_mechanism(value) -> Mechanism:
    """`"gaussian"` stands for the mechanism with the plan's noise."""
    if isinstance(value, Mechanism):
        return value
    if value == "gaussian":
        return GaussianMechanism()
    raise ValueError(
        f"`mechanism` came as {value!r}. It must be 'gaussian' or a Mechanism. "
        "Pass for example tfdeep.privacy.AdaptiveClipping()."
    )
