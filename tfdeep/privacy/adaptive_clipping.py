"""A clip that follows a quantile of the norms, privately."""

import keras
import numpy as np
from keras import ops

from tfdeep.checks import check_number, check_probability
from tfdeep.privacy.mechanisms import Mechanism, check_multiplier, gaussian


def multiplier_of_sums(noise_multiplier: float, count_noise: float) -> float:
    """(z^-2 - (2 sigma_b)^-2)^(-1/2): what is left for the gradients.

    Both releases together are then as private as one with z.
    """
    left = noise_multiplier**-2 - (2.0 * count_noise) ** -2
    if left <= 0:
        raise ValueError(
            "`count_noise` must be more than half of the noise multiplier, "
            "or the count of clipped examples would spend all privacy. "
            f"Received: count_noise={count_noise}, with a noise multiplier of "
            f"{noise_multiplier}. Pass for example a twentieth of the batch "
            "size."
        )
    return left**-0.5


def next_clip(clip, fraction, quantile: float, rate: float):
    """C exp(-rate (fraction - quantile))."""
    return clip * ops.exp(-rate * (fraction - quantile))


@keras.saving.register_keras_serializable(package="tfdeep")
class AdaptiveClipping(Mechanism):
    """Gaussian noise, and a clip that follows a quantile of the norms.

    Use it where no good C is known: it starts from `l2_norm_clip`, and after
    each update moves towards the norm that a fraction `quantile` of examples
    stay below. The fraction is counted with noise of its own, paid for by a
    little more noise on the gradients; the total is that of the plan.

        b = (sum_i (1[|g_i| <= C] - 1/2) + N(0, sigma_b^2)) / batch + 1/2
        C <- C exp(-rate (b - quantile))

    Reference:
        Andrew, Thakkar, McMahan, Ramaswamy, "Differentially Private Learning
        with Adaptive Clipping", 2021, algorithm 1. No deviation.

    Args:
        quantile: float in [0, 1], the fraction of examples left unclipped.
        learning_rate: float above 0, the rate of the formula.
        count_noise: float, the sigma_b of the formula. By default a twentieth
            of the batch size, and no less than the noise multiplier.
        noise_multiplier: float above 0, or `None` for that of the plan.
        batch_size: the expected size of a batch, or `None` for the plan's.

    Attributes:
        sum_multiplier: float, the noise on the sums in units of the
            sensitivity, a little more than the noise multiplier; known with
            the plan.

    Raises:
        ValueError: if a number is out of range or missing.

    Example:
        >>> import tfdeep
        >>> adaptive = tfdeep.privacy.AdaptiveClipping(quantile=0.5)
        >>> adaptive.get_config()["learning_rate"]
        0.2
    """

    adapts = True

    def __init__(
        self,
        quantile: float = 0.5,
        learning_rate: float = 0.2,
        count_noise: float | None = None,
        noise_multiplier: float | None = None,
        batch_size: float | None = None,
    ):
        check_probability("quantile", quantile)
        check_number("learning_rate", learning_rate, 0.0, 0.2)
        check_multiplier(noise_multiplier)
        for name, value, example in (
            ("count_noise", count_noise, 10),
            ("batch_size", batch_size, 256),
        ):
            if value is not None:
                check_number(name, value, 0.0, example)
        self.quantile = quantile
        self.learning_rate = learning_rate
        self.count_noise = count_noise
        self.given = noise_multiplier
        self.batch_size = batch_size
        self._size = batch_size
        self._count_noise = count_noise
        self.sum_multiplier = 0.0

    def bind(self, plan, batch_size):
        bound = super().bind(plan, batch_size)
        size = batch_size if self.batch_size is None else self.batch_size
        if size is None:
            raise ValueError(
                "AdaptiveClipping must know the batch size, as a fraction is "
                "a count over the expected size. Received: neither "
                "`batch_size` nor a plan"
            )
        sigma, count_noise = bound.noise_multiplier, self.count_noise
        if count_noise is None:
            count_noise = max(size / 20.0, sigma)
        sums = multiplier_of_sums(sigma, count_noise) if sigma else 0.0
        return bound.changed(
            _size=size, _count_noise=count_noise, sum_multiplier=sums
        )

    def initial_state(self, shapes):
        return [np.ones((), "float32")]  # The clip, in units of the first.

    def clip_norm(self, clip, state):
        return clip * state[0]

    def counts(self, norms, clip, present):
        below = ops.cast(norms <= clip, "float32")
        return [ops.sum(present * (below - 0.5))]

    def add_noise(self, sums, counts, state, sensitivity, draw):
        (count,), (scale,) = counts, state
        noised = list(sums)
        if self.sum_multiplier:
            noised = gaussian(sums, self.sum_multiplier * sensitivity, draw)
            count = count + self._count_noise * draw(())
        fraction = count / self._size + 0.5
        new = next_clip(scale, fraction, self.quantile, self.learning_rate)
        return noised, [new]

    def get_config(self):
        return {
            "quantile": self.quantile,
            "learning_rate": self.learning_rate,
            "count_noise": self.count_noise,
            "noise_multiplier": self.given,
            "batch_size": self.batch_size,
        }
