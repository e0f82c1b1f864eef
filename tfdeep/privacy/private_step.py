"""One private update: clip, sum, add noise, and count."""

import math

import keras
from keras import ops, tree

from tfdeep import backend
from tfdeep.privacy.clipped_sum import ClippedSum, groups_of
from tfdeep.privacy.data_checks import most_rows
from tfdeep.privacy.microbatches import Summation
from tfdeep.privacy.per_example import engine_for

FOREVER = 2**31 - 1


def kept(layer, name, value, dtype):
    """A weight that is not trained, the same on all devices."""
    return layer.add_weight(
        shape=tuple(getattr(value, "shape", ())),
        initializer=lambda shape, dtype: ops.cast(value, dtype),
        dtype=dtype,
        trainable=False,
        autocast=False,
        aggregation="only_first_replica",
        name=name,
    )


class Memory(keras.layers.Layer):
    """Holds the state of a mechanism, which `compile` may bring late.

    It is never built, and so may get weights at any time.
    """

    def __init__(self):
        super().__init__(name="mechanism", autocast=False)
        self.held: list = []

    def hold(self, values: list) -> None:
        """Make weights of these values; keep those of the same shapes."""
        shapes = [tuple(value.shape) for value in values]
        old = [tuple(each.shape) for each in self.held]
        if old == shapes:
            return
        if old:
            raise ValueError(
                f"The model came with a mechanism whose state has shapes "
                f"{shapes}, where it had {old}. What was released so far "
                "belongs to the old one. Make a new PrivateModel."
            )
        self.held = [
            kept(self, f"state_{index}", value, "float32")
            for index, value in enumerate(values)
        ]


class PrivateStep(backend.OwnStep):
    """What `PrivateModel` does in training; it holds the settings."""

    def build(self, input_shape):
        if self._engine is not None:
            return
        self.updates_taken = self._keep("updates_taken", 0)
        self.batches_seen = self._keep("batches_seen", 0)
        self.non_finite_examples = self._keep("non_finite_examples", 0)
        variables = self.base.trainable_variables
        self._make_state()
        self.averages = []
        if self.averaging is not None:
            self.averages = [
                self._keep(f"average_{index}", as_array(v), str(v.dtype))
                for index, v in enumerate(variables)
            ]
        self._engine = engine_for(self.base, self, self.method)

    def _make_state(self):
        """Make weights of the mechanism's state, unless they are there."""
        shapes = [tuple(v.shape) for v in self.base.trainable_variables]
        first = self.mechanism.initial_state(shapes)
        self.memory.hold(first)

    @property
    def mechanism_state(self) -> list:
        """The variables that hold the mechanism's state."""
        return self.memory.held

    def _keep(self, name, value, dtype="int32"):
        return kept(self, name, value, dtype)

    def update(self, data) -> dict:
        x, y, weight = keras.utils.unpack_x_y_sample_weight(data)
        clipped = self._summed(x, y, weight)
        grads, due = self._release(clipped)
        grads = self._with_penalties(grads)
        mark = getattr(self.optimizer, "mark_private", None)
        if mark is not None:
            mark(grads)
        trainable = self.base.trainable_variables
        self.optimizer.apply(grads, trainable)
        if self.averaging is not None:
            before = self.updates_taken.value - ops.cast(due, "int32")
            self.averaging.step(self.averages, trainable, before, due)
        self._note(clipped)
        return self.compute_metrics(x, y, clipped.outputs, weight)

    def _summed(self, x, y, weight) -> ClippedSum:
        """The clipped sum over a batch; nothing has been released yet."""
        if not self.built:
            self.build(tree.map_structure(lambda t: t.shape, x))
        views = self.augmentation
        sums = Summation(
            self._engine,
            self.clipping,
            groups_of(self.base.trainable_variables, self.clipping.per_layer),
            self.mechanism,
            views,
            self.microbatch_size,
        )
        trainable, state = backend.read_variables(self.base)
        augmented = [] if views is None else views.layer.non_trainable_variables
        self._sees_examples = True
        try:
            clipped = sums.run(
                (trainable, state, [v.value for v in augmented]),
                [each.value for each in self.mechanism_state],
                x,
                y,
                weight,
            )
        finally:
            self._sees_examples = False
        variables = self.base.non_trainable_variables
        for index in self._engine.seeds:
            variables[index].assign(clipped.state[index])
        for variable, value in zip(augmented, clipped.augmented, strict=True):
            variable.assign(value)
        return clipped

    def _release(self, clipped):
        """The noised mean, and whether an update is due.

        What is computed here is all of the examples that leaves this model.
        """
        self._bind()
        self.noise.turn_to(self.batches_seen.value)
        state = [each.value for each in self.mechanism_state]
        clip = self.mechanism.clip_norm(self.clipping.l2_norm_clip, state)
        count = len(clipped.sums)
        totals = backend.sum_over_replicas([*clipped.sums, *clipped.counts])
        sums, counts = totals[:count], totals[count:]
        noised, new_state = self.mechanism.add_noise(
            sums, counts, state, self.clipping.rescale(clip, clip), self._draw
        )
        allowed = self._allowed(ops.shape(clipped.norms)[0])
        due = ops.logical_and(self._moves_now(), allowed)
        for variable, value, old in zip(
            self.mechanism_state, new_state, state, strict=True
        ):
            variable.assign(ops.where(due, value, old))
        self.batches_seen.assign(self.batches_seen + 1)
        self.updates_taken.assign(self.updates_taken + ops.cast(due, "int32"))
        divisor = self._divisor(clipped) * backend.replica_count()
        return [
            ops.where(allowed, ops.where(due, new, old), ops.zeros_like(old))
            / ops.cast(divisor, old.dtype)
            for old, new in zip(sums, noised, strict=True)
        ], due

    def _bind(self):
        if not self._bound:
            size = None if self.plan is None else self.plan.batch_size
            self.mechanism.bind(self.plan, size)
            self._bound = True

    def _draw(self, shape):
        """Normal numbers, the same on all devices."""
        return backend.sum_over_replicas(
            [backend.on_first_replica(self.noise.normal(shape))]
        )[0]

    def accumulation(self) -> int:
        """How many batches the optimizer takes for one update."""
        if self.optimizer is None:
            return 1
        return self.optimizer.gradient_accumulation_steps or 1

    def _moves_now(self):
        """Whether the optimizer moves the weights at this batch."""
        return (self.batches_seen.value + 1) % self.accumulation() == 0

    def _allowed(self, rows):
        """Whether the plan covers an update of so many rows on each device.

        If it does not, the update shows nothing of them.
        """
        limit = FOREVER if self.plan is None else self.plan.steps
        left = self.updates_taken.value < limit
        most = most_rows(self.plan, self.accumulation())
        if most is None:
            return left
        return ops.logical_and(
            left, rows <= -(-most // backend.replica_count())
        )

    def _divisor(self, clipped):
        """The expected size of a batch, which says nothing of the data."""
        if self.plan is not None:
            return self.plan.batch_size / self.accumulation()
        rows = ops.shape(clipped.norms)[0] * backend.replica_count()
        return ops.cast(rows, "float32")

    def _with_penalties(self, grads):
        """Add the gradients of penalties on weights, which are no secret."""
        found = []
        for grad, variable in zip(
            grads, self.base.trainable_variables, strict=True
        ):
            if variable.regularizer is not None:
                _, (more,) = backend.value_and_gradients(
                    lambda values, v=variable: v.regularizer(values[0]),
                    [variable.value],
                )
                grad = grad + ops.cast(more, grad.dtype) / (
                    backend.replica_count()
                )
            found.append(ops.cast(grad, variable.dtype))
        return found

    def _note(self, clipped):
        """What is shown of the training data: not private."""
        present = ops.maximum(clipped.present, 1.0)
        self.clipped_fraction.update_state(
            clipped.clipped / present, sample_weight=clipped.present
        )
        (bad,) = backend.sum_over_replicas([clipped.not_finite])
        self.non_finite_examples.assign(
            self.non_finite_examples + ops.cast(bad, "int32")
        )
        losses = clipped.losses
        finite = ops.where(ops.isfinite(losses), losses, 0.0)
        loss = ops.sum(finite) / ops.cast(present, finite.dtype)
        for metric in self.metrics:
            if metric.name == "loss":
                metric.update_state(loss, sample_weight=clipped.present)

    def updates_left(self) -> float:
        """How many updates the plan still covers."""
        if self.plan is None:
            return math.inf
        return self.plan.steps - self.count_of_updates()

    def count_of_updates(self) -> int:
        """How many updates have been taken, also before a file was loaded."""
        if not self.built:
            return 0
        return int(as_array(self.updates_taken))

    def count_of_due(self) -> int:
        """How many updates the batches so far were to make."""
        if not self.built:
            return 0
        return int(as_array(self.batches_seen)) // self.accumulation()

    def updates_per_execution(self) -> float:
        """How many updates the compiled step may take at once."""
        return max(1, math.ceil(self.steps_per_execution / self.accumulation()))


def as_array(variable):
    """A copy of a variable's values: JAX gives buffers away."""
    return ops.convert_to_numpy(ops.convert_to_tensor(variable)).copy()
