"""What a private model does in training: one update, and its bookkeeping."""

import math
import warnings

import keras
from keras import ops, tree

from tfdeep import backend
from tfdeep.privacy.clipped_sum import ClippedSum
from tfdeep.privacy.clipping import as_clipping
from tfdeep.privacy.gate import check_step, most_rows
from tfdeep.privacy.memory import terms_of
from tfdeep.privacy.per_example import engine_for
from tfdeep.privacy.per_example.isolation import traits_of
from tfdeep.privacy.per_example.purity import NotPrivateError
from tfdeep.privacy.per_example.vectorized import Vectorized
from tfdeep.privacy.sampling import is_sample
from tfdeep.privacy.truth import synthetic, wrong_weights
from tfdeep.privacy.update import PrivateUpdate


class PrivateStep(backend.OwnStep):
    """What `PrivateModel` does in training; it holds the settings."""

    def build(self, input_shape):
        if self._private is not None:
            return
        self._begin()

    @property
    def non_finite_examples(self):
        """How many examples were left out so far; in no file, not private."""
        return self.memory.non_finite_examples.state

    def _begin(self):
        """Make the update anew: for these weights, optimizer and settings."""
        variables = self.base.trainable_variables
        clipping, mechanism = self._asked()
        self._private = PrivateUpdate(
            engine_for(self.base, self, self.method),
            variables,
            clipping,
            mechanism,
            self.noise,
            self.plan,
            self.memory,
            self.accumulation(),
            self.augmentation,
            self.microbatch_size,
        )
        self._traits = traits_of(self.base)
        self.memory.terms = terms_of(self.plan, mechanism)
        if self.averaging is not None:
            self.memory.averages_of(variables)

    @property
    def averages(self) -> list:
        """The averages of the trainable weights, if they are kept."""
        if self.averaging is None or self._private is None:
            return []
        return self.memory.averages_of(self._private.variables)

    def _asked(self):
        """Clipping and mechanism: those given, or those of the optimizer."""
        optimizer = getattr(self, "optimizer", None)  # None until `compile`.
        settings = getattr(optimizer, "privacy_settings", None)
        if settings is None:
            return self._given_clipping, self._given_mechanism
        settings = settings()
        clip = settings.get("l2_norm_clip")
        clipping = self._given_clipping if clip is None else as_clipping(clip)
        return clipping, settings["mechanism"]

    @property
    def clipping(self):
        """The `Clipping` in use."""
        return self._asked()[0]

    @property
    def mechanism(self):
        """The `Mechanism` in use; it knows its noise from the first update."""
        if self._private is None:
            return self._asked()[1]
        return self._private.mechanism

    @property
    def mechanism_state(self) -> list:
        """The variables that hold the mechanism's state."""
        return self.memory.mechanism

    def update(self, data) -> dict:
        x, y, weight = keras.utils.unpack_x_y_sample_weight(data)
        check_step(self.plan, x, weight, self.accumulation())
        clipped = self._summed(x, y, weight)
        rows = ops.shape(clipped.norms)[0]
        grads, due = self._private.release(clipped, self._allowed(rows, weight))
        grads = self._with_penalties(grads)
        scale = self.optimizer.loss_scale_factor
        if scale is not None:  # The optimizer is going to divide by it.
            grads = [each * scale for each in grads]
        mark = getattr(self.optimizer, "mark_private", None)
        if mark is not None:
            mark(grads)
        trainable = self.base.trainable_variables
        self.optimizer.apply(grads, trainable)
        if self.averaging is not None:
            taken = self.memory.updates_taken.state.value
            before = taken - ops.cast(due, "int32")
            self.averaging.step(self.averages, trainable, before, due)
        self._note(clipped)
        return self.compute_metrics(x, y, clipped.outputs, weight)

    def _summed(self, x, y, weight) -> ClippedSum:
        """The clipped sum over a batch; nothing has been released yet."""
        if not self.built:
            self.build(tree.map_structure(lambda t: t.shape, x))
        self.check_unchanged()
        if not self._private.checked:
            # Values of now, not those of a trace.
            with backend.outside_of_traces(), keras.StatelessScope():
                self.check_engine(synthetic((x, y, weight)))
        views = self.augmentation
        trainable = [v.value for v in self.base.trainable_variables]
        state = [v.value for v in self.base.non_trainable_variables]
        augmented = [] if views is None else views.layer.non_trainable_variables
        self._sees_examples = True
        try:
            clipped = self._private.sum(
                (trainable, state, [v.value for v in augmented]), x, y, weight
            )
        finally:
            self._sees_examples = False
        variables = self.base.non_trainable_variables
        for index in self._private.engine.seeds:
            variables[index].assign(clipped.state[index])
        for variable, value in zip(augmented, clipped.augmented, strict=True):
            variable.assign(value)
        return clipped

    def check_engine(self, example) -> None:
        """Compare the engine with plain differentiation, on one example.

        Args:
            example: `(x, y, sample_weight)`, a batch of one, or `None`.
        """
        private = self._private
        if private.checked or example is None:
            return
        private.checked = True
        if isinstance(private.engine, Vectorized):
            return
        self._sees_examples = True
        try:
            wrong = wrong_weights(private.engine, self.base, self, example)
        finally:
            self._sees_examples = False
        if wrong:
            warnings.warn(
                f"The gradients by {', '.join(wrong)} differ, taken layer by "
                "layer, from those of plain differentiation. The whole model "
                "is differentiated on one example at a time, which is slower.",
                stacklevel=3,
            )
            private.engine = Vectorized(self.base, self)

    def check_unchanged(self) -> None:
        """Raise unless the model is as it was when it was compiled."""
        private = self._private
        now = [id(v) for v in self.base.trainable_variables]
        if now != [id(v) for v in private.variables]:
            raise NotPrivateError(
                "The trainable weights are no longer those that the model was "
                f"compiled with. Received: {len(now)} of them, then "
                f"{len(private.variables)}. Call `compile` again after "
                "freezing, unfreezing or `enable_lora`."
            )
        if self.accumulation() != private.accumulation:
            raise NotPrivateError(
                "The optimizer no longer makes an update of as many batches as "
                "when the model was compiled. Received: "
                f"{self.accumulation()}, then {private.accumulation}. Call "
                "`compile` again."
            )
        if traits_of(self.base) != self._traits:
            raise NotPrivateError(
                "The layers of the model no longer compute what they did when "
                "it was compiled: it is known of those that they keep examples "
                "apart. Received: another activation, axis or `call`. Call "
                "`compile` again."
            )
        if self.memory.has_lost_noise:
            raise NotPrivateError(
                f"The weights are of a file, and the noise of "
                f"{type(private.mechanism).__name__} is in none: the noise of "
                "the next update builds on it. Go on by `load_resumable`, or "
                "begin a new PrivateModel around `model.base`."
            )

    def accumulation(self) -> int:
        """How many batches the optimizer takes for one update."""
        optimizer = getattr(self, "optimizer", None)  # None until `compile`.
        if optimizer is None:
            return 1
        return optimizer.gradient_accumulation_steps or 1

    def devices(self) -> int:
        """How many devices share a batch: those of a TensorFlow strategy."""
        strategy = getattr(self, "distribute_strategy", None)
        return getattr(strategy, "num_replicas_in_sync", 1)

    def _allowed(self, rows, weight):
        """Whether the plan is about such batches, on each device."""
        plan = self.plan
        if plan is not None and plan.sampling == "poisson":
            if plan.sampling_probability < 1.0:
                return is_sample(tree.flatten(weight)[0])
        most = most_rows(self.plan, self.accumulation())
        if most is None:
            return ops.convert_to_tensor(True)
        return ops.convert_to_tensor(
            rows <= -(-most // backend.replica_count())
        )

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
        """How many updates have been taken, also before a file was loaded.

        It never falls while the model lives, whatever weights it is given.
        """
        return self.memory.count("updates_taken")

    def count_of_refused(self) -> int:
        """How many batches could not be used."""
        return self.memory.count("batches_refused")

    def updates_per_execution(self) -> float:
        """How many updates the compiled step may take at once."""
        return max(1, math.ceil(self.steps_per_execution / self.accumulation()))
