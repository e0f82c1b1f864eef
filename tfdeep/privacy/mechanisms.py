"""What is added to the clipped sum of gradients, and what it may remember.

A mechanism holds settings. Its state is a list of tensors, which the private
model keeps as weights that are not trained: it is given with each call and
returned with its new values.
"""

import keras
import numpy as np
from keras import ops

from tfdeep.checks import check_number
from tfdeep.privacy.frozen import Frozen


class Mechanism(Frozen):
    """Base of the mechanisms: what they are asked for, in this order.

    One update is: `clip_norm`; for each microbatch `accumulate`, or the
    engine's own clipping and `counts`; then, of the sums over the whole
    logical batch and all devices, `add_noise`, once.

    Attributes:
        needs_records: whether the gradient of each example must be there,
            for `accumulate`, rather than the clipped sum alone.
        adapts: whether the bound follows the examples of each update.
        secret: whether the state holds noise that has been released, so that
            whoever reads it can take it off again: no file may hold it.
        noise_multiplier: float, the standard deviation of the noise in units
            of the sensitivity; `None` until a plan gives it.
    """

    needs_records = False
    adapts = False
    secret = False
    noise_multiplier: float | None = None

    def bind(self, plan, batch_size: float | None) -> "Mechanism":
        """A copy that has taken from the plan what was left open.

        Args:
            plan: a `Plan`, or `None`.
            batch_size: the expected size of a batch, `None` without a plan.
        """
        planned = None if plan is None else plan.noise_multiplier
        given = self.get_config().get("noise_multiplier")
        used = planned if given is None else given
        if used is None:
            raise ValueError(
                f"{type(self).__name__} must know how much noise to add. "
                "Received: neither a noise multiplier nor a plan. Pass "
                "`plan=Plan(...)`, or "
                "GaussianMechanism(noise_multiplier=1.1)."
            )
        if planned is not None and float(used) != float(planned):
            raise ValueError(
                f"The noise multiplier of {type(self).__name__} must be that "
                f"of the plan, {planned}, which accounts for it. Received: "
                f"noise_multiplier={given}. Leave it out here."
            )
        return self.changed(noise_multiplier=float(used))

    def initial_state(self, shapes: list[tuple]) -> list[np.ndarray]:
        """The arrays that the state begins with.

        Args:
            shapes: the shapes of the trainable weights.
        """
        return []

    def clip_norm(self, clip, state):
        """The bound C of this update; `clip` is the one that was given."""
        return clip

    def counts(self, norms, clip, present) -> list:
        """What else is summed over examples: scalars of bounded influence.

        Args:
            norms: (batch,) norms before the clip, 0 where not finite.
            clip: the bound C of this update.
            present: (batch,) 1, or 0 for padding.
        """
        return []

    def accumulate(self, records, present, state) -> tuple[list, list]:
        """Clip and sum, where `needs_records`.

        Args:
            records: one tensor per trainable weight, batch first; zero
                for padding and for examples that are not finite.
            present: (batch,) 1, or 0 for padding.
            state: the mechanism's state.

        Returns:
            `(sums, counts)`, lists of tensors that may be added to those of
            other parts of the batch.
        """
        raise NotImplementedError

    def add_noise(self, sums, counts, state, sensitivity, draw):
        """Return `(noised sums, new state)`; called once per update.

        Args:
            sums: one tensor per trainable weight, summed over the batch.
            counts: what `counts` or `accumulate` gave, summed likewise.
            state: the mechanism's state.
            sensitivity: by how much the sums may move with one example, in
                the L2 norm.
            draw: `draw(shape)`, standard normal numbers of the model's own
                stream, the same on all devices.
        """
        raise NotImplementedError

    def get_config(self) -> dict:
        return {}

    @classmethod
    def from_config(cls, config):
        return cls(**config)


def gaussian(sums, scale, draw):
    """sums + scale N(0, I)."""
    return [
        value + ops.cast(scale, value.dtype) * ops.cast(noise, value.dtype)
        for value, noise in ((s, draw(ops.shape(s))) for s in sums)
    ]


def check_multiplier(value) -> None:
    """Raise `ValueError` unless it is `None` or a number from 0."""
    if value is not None:
        check_number("noise_multiplier", value, 0.0, 1.1)


@keras.saving.register_keras_serializable(package="tfdeep")
class GaussianMechanism(Mechanism):
    """Adds independent normal noise to each sum: DP-SGD as it is known.

    sums + sigma S N(0, I), with S the sensitivity, which is C.

    Reference:
        Abadi, Chu, Goodfellow, McMahan, Mironov, Talwar, Zhang, "Deep
        Learning with Differential Privacy", 2016, algorithm 1. No deviation.

    Args:
        noise_multiplier: float from 0, the sigma above, or `None` for that
            of the plan.

    Raises:
        ValueError: if `noise_multiplier` is not a number from 0.

    Example:
        >>> import tfdeep
        >>> tfdeep.privacy.GaussianMechanism(noise_multiplier=1.1).get_config()
        {'noise_multiplier': 1.1}
    """

    def __init__(self, noise_multiplier: float | None = None):
        check_multiplier(noise_multiplier)
        self.given = noise_multiplier

    def add_noise(self, sums, counts, state, sensitivity, draw):
        if not self.noise_multiplier:
            return list(sums), list(state)
        scale = self.noise_multiplier * sensitivity
        return gaussian(sums, scale, draw), list(state)

    def get_config(self) -> dict:
        return {"noise_multiplier": self.given}


def as_mechanism(value) -> Mechanism:
    """`"gaussian"` stands for the mechanism with the plan's noise."""
    if isinstance(value, Mechanism):
        return value
    if value == "gaussian":
        return GaussianMechanism()
    raise ValueError(
        "`mechanism` must be 'gaussian' or a Mechanism. Received: "
        f"mechanism={value!r}. Pass for example "
        "tfdeep.privacy.AdaptiveClipping()."
    )
