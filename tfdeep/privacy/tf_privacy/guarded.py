"""What an optimizer of TF Privacy needs besides, to be safe on Keras 3.

The worst that can happen to private training is that it only looks private:
an optimizer of TF Privacy in an ordinary `fit` is handed the gradient of the
batch, which nothing has clipped. TF Privacy notices as long as its own code
has never run; after that it applies whatever comes. Here the optimizer takes
no gradient that private code has not handed out.
"""

from typing import Any

import keras
import tensorflow as tf

from tfdeep.checks import check_number
from tfdeep.privacy.tf_privacy.chunks import sum_in_chunks
from tfdeep.privacy.tf_privacy.marks import Marks
from tfdeep.privacy.tf_privacy.queries import query_class
from tfdeep.privacy.tf_privacy.query_mechanism import QueryMechanism
from tfdeep.untracked import Untracked


class Guarded:
    """Mixed into the classes that TF Privacy's factories make."""

    keras_class: Any
    tf_privacy_class: Any
    query: Any
    _twin: Untracked
    _num_microbatches: int | None

    def mark_private(self, gradients) -> None:
        """Let these tensors, and no others, be applied once.

        `PrivateModel` calls it. Of use by itself where gradients that were
        made private elsewhere, clipped and with noise, are to be applied.

        Args:
            gradients: the list of tensors that `apply` will get, unchanged.
        """
        self._marks.add(gradients)
        self._was_dp_gradients_called = True

    def apply_gradients(self, grads_and_vars):
        grads_and_vars = list(grads_and_vars)
        self._refuse_plain([grad for grad, _ in grads_and_vars])
        return super().apply_gradients(grads_and_vars)

    def apply(self, grads, trainable_variables=None):
        grads = list(grads)
        self._refuse_plain(grads)
        self._marks.spend(grads)
        return super().apply(grads, trainable_variables)

    def _refuse_plain(self, gradients) -> None:
        if not self._marks.holds(gradients):
            raise RuntimeError(
                f"{type(self).__name__} was handed gradients that it did not "
                "compute: nothing has clipped them or added noise, and the "
                "training would not be private. It takes the gradients of "
                "`PrivateModel`, or those of its own `_compute_gradients` "
                "unchanged. Wrap the model: tfdeep.privacy.PrivateModel(model)"
                ".compile(optimizer, loss), then fit that."
            )

    def _compute_gradients(self, loss, var_list, grad_loss=None, tape=None):
        """TF Privacy's own; of a loss for each example, never of a mean."""
        given: list = []
        size: list = []

        def variables():
            found = var_list() if callable(var_list) else var_list
            given[:] = tf.nest.flatten(found)
            return [_native(each) for each in given]

        def losses():
            value = loss() if callable(loss) else loss
            _check_rank(value)
            size[:] = [self._num_microbatches or tf.shape(value)[0]]
            return value

        pairs = super()._compute_gradients(
            losses if callable(loss) else losses(),
            variables if callable(var_list) else variables(),
            grad_loss,
            tape,
        )
        gradients = self._with_noise([grad for grad, _ in pairs], size[0])
        self.mark_private(gradients)
        return list(zip(gradients, given, strict=True))

    def _with_noise(self, gradients, size):
        """What is still to be added to what TF Privacy returned."""
        return gradients

    @property
    def l2_norm_clip(self) -> float:
        """The bound of an example's gradient, before the first update."""
        return self._mechanism.value.l2_norm_clip

    def privacy_settings(self) -> dict:
        """What `PrivateModel` takes from the optimizer: clip and noise."""
        return {
            "l2_norm_clip": self.l2_norm_clip,
            "mechanism": self._mechanism.value,
        }

    def clipped_sum(self, loss_of, arrays, variables, chunk_size: int = 4):
        """Clip and sum without noise, by TF Privacy's own code.

        The time of that code grows with the square of the batch; called
        chunk by chunk, it grows with the batch. An example whose gradient is
        not finite spoils the sum, as it does in TF Privacy.

        Args:
            loss_of: function of a list of arrays, the rows of a chunk, that
                returns their losses (chunk,).
            arrays: list of tensors (batch, ...).
            variables: the variables to differentiate by.
            chunk_size: how many examples at a time.

        Returns:
            `(sums, losses)`: one tensor per variable, and (batch,).
        """
        if self._mechanism.value.adapts:
            raise ValueError(
                "The clip must be the same in all updates with TF Privacy's "
                "own gradient code, which would change it with each chunk. "
                f"Received: {type(self).__name__}, whose clip adapts. Use "
                "method='auto'."
            )
        return sum_in_chunks(
            self._noiseless(), loss_of, arrays, variables, chunk_size
        )

    def _noiseless(self):
        """TF Privacy's class, as it is, with this clip and no noise."""
        if self._twin.value is None:
            # Its variables must not belong to a function that is traced.
            with tf.init_scope():
                self._twin.value = self._make_twin()
        return self._twin.value

    def _make_twin(self):
        query = query_class("GaussianSumQuery")(self.l2_norm_clip, 0.0)
        return self.tf_privacy_class(query)

    def check_batch(self, batch_size: int | None) -> None:
        """Raise `ValueError` unless each example is its own microbatch.

        Args:
            batch_size: the size of a batch, `None` where it is not known.
        """
        asked = self._num_microbatches
        if asked is not None and batch_size != asked:
            size = "a size that no plan names"
            size = size if batch_size is None else str(batch_size)
            raise ValueError(
                "`num_microbatches` must be None or the size of the batch. "
                "PrivateModel clips the gradient of each example; the mean "
                "of several, clipped as one, is another mechanism, with "
                f"twice the sensitivity. Received: num_microbatches={asked} "
                f"with batches of {size}"
            )

    def _begin(self, arguments: dict, num_microbatches) -> None:
        """Remember the arguments; the last of the classes to do so counts."""
        self._dp_arguments = Untracked(
            {**arguments, "num_microbatches": num_microbatches}
        )
        self._marks = Marks()
        self._mechanism = Untracked(QueryMechanism(self.query))
        self._twin = Untracked()

    def get_config(self) -> dict:
        # TF Privacy's would hold a state that nothing can read back.
        config = {
            **self.keras_class.get_config(self),
            **self._dp_arguments.value,
        }
        if "dp_sum_query" in config:
            serialize = keras.saving.serialize_keras_object
            config["dp_sum_query"] = serialize(config["dp_sum_query"])
        return config

    @classmethod
    def from_config(cls, config, custom_objects=None):
        config = dict(config)
        if "dp_sum_query" in config:
            config["dp_sum_query"] = keras.saving.deserialize_keras_object(
                config["dp_sum_query"], custom_objects
            )
        return super().from_config(config, custom_objects)


def _native(variable):
    is_keras = isinstance(variable, keras.Variable)
    return variable.value if is_keras else variable


def _check_rank(loss) -> None:
    rank = loss.shape.rank
    if rank is None or rank == 0:
        raise ValueError(
            "The loss must be a tensor (batch,), as the gradient of each "
            "example is clipped; of a mean, only the mean would be. Received: "
            f"shape {loss.shape}. Pass the loss with reduction='none'."
        )


def check_dp(l2_norm_clip, noise_multiplier) -> None:
    """Raise `ValueError` unless clip and noise can be what they say."""
    check_number("l2_norm_clip", l2_norm_clip, 0.0, 1.0)
    check_number("noise_multiplier", noise_multiplier, 0.0, 1.1)
    if l2_norm_clip == 0:
        raise ValueError(
            "`l2_norm_clip` must be above 0, or every gradient would become "
            "0. Received: l2_norm_clip=0. Pass for example 1.0."
        )


def check_steps(steps) -> int:
    """The number of accumulated steps; `None` is one."""
    if steps is None:
        return 1
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
        raise ValueError(
            "`gradient_accumulation_steps` must be a whole number from 1. "
            f"Received: gradient_accumulation_steps={steps!r}. Pass 1 to "
            "update after each batch."
        )
    return steps
