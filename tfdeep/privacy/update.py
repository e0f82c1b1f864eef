"""One private update: what happens to a batch before the optimizer sees it."""

import math

import keras
import numpy as np
from keras import ops

from tfdeep import backend
from tfdeep.privacy.clipped_sum import ClippedSum, groups_of
from tfdeep.privacy.microbatches import Summation

FOREVER = 2**31 - 1


class PrivateUpdate:
    """From a batch to the one thing that is released of it.

        g_i       the gradient of example i alone         (engine)
        s         sum_i min(1, C / |g_i|) g_i             (clipping)
        w         w + s, over the batches of an update    (memory)
        released  (w + noise) / batch size; then w = 0    (mechanism, noise)

    Until the update is due, 0 is released. Settings are those of one
    `compile`; what is remembered lies in the memory.

    Args:
        engine: differentiates, example by example.
        variables: the trainable variables.
        clipping: a `Clipping`.
        mechanism: a `Mechanism`.
        noise: a `NoiseSource`.
        plan: a `Plan`, or `None`.
        memory: a `Memory`.
        accumulation: how many batches there are to an update.
        views: `Views`, or `None`.
        microbatch_size: how many examples are in memory at once, or `None`.
    """

    def __init__(
        self,
        engine,
        variables: list,
        clipping,
        mechanism,
        noise,
        plan,
        memory,
        accumulation: int = 1,
        views=None,
        microbatch_size: int | None = None,
    ):
        self.engine = engine
        self.variables = list(variables)
        self.clipping = clipping
        self.mechanism = mechanism
        self.noise = noise
        self.plan = plan
        self.memory = memory
        self.accumulation = accumulation
        self.views = views
        self.microbatch_size = microbatch_size
        self.checked = False  # The engine, against plain differentiation.
        self._bound = False
        shapes = [tuple(variable.shape) for variable in variables]
        memory.hold_mechanism(mechanism.initial_state(shapes), mechanism.secret)
        memory.hold_window(
            [
                np.zeros(variable.shape, dtype_of_sums(variable))
                for variable in variables
                if accumulation > 1
            ]
        )

    def bind(self) -> None:
        """Take from the plan how much noise to add; raise if nobody says."""
        if not self._bound:
            size = None if self.plan is None else self.plan.batch_size
            self.mechanism = self.mechanism.bind(self.plan, size)
            self._bound = True

    def sum(self, values, x, y, weight) -> ClippedSum:
        """The clipped sum over a batch: nothing has been released yet.

        Args:
            values: of the trainable variables, of the others, and of the
                layer that makes views: three lists.
            x: inputs, a row per example.
            y: targets.
            weight: sample weights, or `None`.
        """
        groups = groups_of(self.variables, self.clipping.per_layer)
        sums = Summation(
            self.engine,
            self.clipping,
            groups,
            self.mechanism,
            self.views,
            self.microbatch_size,
        )
        state = [each.value for each in self.memory.mechanism]
        return sums.run(values, state, x, y, weight)

    def release(self, clipped: ClippedSum, allowed):
        """What is given to the optimizer, and whether it is an update.

        An optimizer that accumulates adds 0 until the batch that is the last
        of an update, and what is released then: it never holds a sum without
        noise, wherever in its own count it is.

        Args:
            clipped: the clipped sum over a batch, on this device.
            allowed: scalar boolean, whether it may be used at all.

        Returns:
            `(gradients, due)`, the gradients to be added over all devices.
        """
        self.bind()
        memory = self.memory
        seen = memory.batches_seen.state.value
        self.noise.turn_to(seen)
        last = ops.equal((seen + 1) % self.accumulation, 0)
        left = memory.updates_taken.state.value < self.most_updates
        rows = ops.shape(clipped.norms)[0]
        sums, counts, allowed = self._gathered(clipped, last, allowed)
        due = ops.logical_and(last, ops.logical_and(left, allowed))
        noised = self._noised(sums, counts, due)
        for name, more in (
            ("batches_seen", True),
            ("updates_taken", due),
            ("batches_refused", ops.logical_not(allowed)),
        ):
            variable = getattr(memory, name).state
            variable.assign(variable + ops.cast(more, "int32"))
        divisor = self._divisor(rows) * backend.replica_count()
        return [
            ops.where(due, each, ops.zeros_like(each))
            / ops.cast(divisor, each.dtype)
            for each in noised
        ], due

    def _gathered(self, clipped, last, allowed):
        """The sums of the update so far, over all devices; those allowed.

        A batch whose sums are not finite in spite of the clip is not.
        """
        count = len(clipped.sums)
        totals = backend.sum_over_replicas([*clipped.sums, *clipped.counts])
        sums, counts = totals[:count], totals[count:]
        # What one device must not use, none may: they make one update.
        (refusing,) = backend.sum_over_replicas(
            [ops.cast(ops.logical_not(allowed), "float32")]
        )
        allowed = ops.equal(refusing, 0)
        for each in totals:
            finite = ops.all(ops.isfinite(each))
            allowed = ops.logical_and(allowed, finite)
        sums, counts = (
            [ops.where(allowed, each, ops.zeros_like(each)) for each in part]
            for part in (sums, counts)
        )
        for index, variable in enumerate(self.memory.window):
            old = variable.value
            sums[index] = sums[index] + ops.cast(old, sums[index].dtype)
            kept = ops.cast(sums[index], old.dtype)
            variable.assign(ops.where(last, ops.zeros_like(old), kept))
        return sums, counts, allowed

    def _noised(self, sums, counts, due):
        """The sums with noise; the mechanism goes on where that is due."""
        variables = self.memory.mechanism
        state = [each.value for each in variables]
        clip = self.mechanism.clip_norm(self.clipping.l2_norm_clip, state)
        noised, new_state = self.mechanism.add_noise(
            sums, counts, state, self.clipping.rescale(clip, clip), self._draw
        )
        for variable, new, old in zip(variables, new_state, state, strict=True):
            variable.assign(ops.where(due, new, old))
        return noised

    def _draw(self, shape):
        """Normal numbers, the same on all devices."""
        return backend.sum_over_replicas(
            [backend.on_first_replica(self.noise.normal(shape))]
        )[0]

    def _divisor(self, rows):
        """The expected size of a batch, which says nothing of the data."""
        if self.plan is not None:
            return self.plan.batch_size / self.accumulation
        return ops.cast(rows * backend.replica_count(), "float32")

    @property
    def most_updates(self) -> int:
        """How many updates the plan covers."""
        return FOREVER if self.plan is None else self.plan.steps

    def left(self) -> float:
        """How many of them are left."""
        if self.plan is None:
            return math.inf
        return self.plan.steps - self.memory.count("updates_taken")


def dtype_of_sums(variable) -> str:
    """That of a variable, and float32 at least."""
    dtype = keras.backend.standardize_dtype(variable.dtype)
    return "float64" if dtype == "float64" else "float32"
