"""What a gradient is multiplied with, so that no example weighs too much.

    flat        c_i = min(1, C / |g_i|)                     |c_i g_i| <= C
    automatic   c_i = C / (|g_i| + gamma)                   |c_i g_i| <= C
    per layer   flat within each layer, to C / sqrt(L)      |c_i g_i| <= C

Rescaled, each is divided by C: the sum then moves by at most 1 with an
example, and a learning rate found at one C is good for another.
"""

import keras
from keras import ops

from tfdeep.checks import check_boolean, check_number
from tfdeep.privacy.frozen import Frozen


def flat_factors(norms, clip):
    """min(1, C / |g|), also where |g| is 0."""
    return clip / ops.maximum(norms, clip)


def automatic_factors(norms, clip, stability):
    """C / (|g| + gamma)."""
    return clip / (norms + stability)


class Clipping(Frozen):
    """How per-example gradients are bounded: to a norm of `l2_norm_clip`.

    Args:
        l2_norm_clip: float above 0, the C of the formulas.
        rescaled: boolean, whether to divide what was clipped by C.
    """

    per_layer = False

    def __init__(self, l2_norm_clip: float = 1.0, rescaled: bool = False):
        check_number("l2_norm_clip", l2_norm_clip, 0.0, 1.0)
        if l2_norm_clip == 0:
            raise ValueError(
                "`l2_norm_clip` must be above 0, or every gradient would "
                "become 0. Received: l2_norm_clip=0. Pass for example 1.0."
            )
        self.l2_norm_clip = float(l2_norm_clip)
        check_boolean("rescaled", rescaled)
        self.rescaled = rescaled

    def factors(self, norms, clip):
        """What gradients of such norms are multiplied with, unrescaled."""
        return flat_factors(norms, clip)

    def rescale(self, value, clip):
        """The value, divided by C if this is rescaled."""
        return value / clip if self.rescaled else value

    def get_config(self) -> dict:
        return {"l2_norm_clip": self.l2_norm_clip, "rescaled": self.rescaled}

    @classmethod
    def from_config(cls, config):
        return cls(**config)


@keras.saving.register_keras_serializable(package="tfdeep")
class FlatClipping(Clipping):
    """Clips the whole gradient of an example, where it is longer than C.

    The factor is

        min(1, C / |g|)

    What `PrivateModel(l2_norm_clip=C)` uses.

    Reference:
        Abadi, Chu, Goodfellow, McMahan, Mironov, Talwar, Zhang, "Deep
        Learning with Differential Privacy", 2016, algorithm 1. Rescaled: De,
        Berrada, Hayes, Smith, Balle, 2022. No deviation.

    Args:
        l2_norm_clip: float above 0, the largest norm that is left as it is.
        rescaled: boolean, whether to divide by C what was clipped.

    Raises:
        ValueError: if `l2_norm_clip` is not a number above 0.

    Example:
        >>> import tfdeep
        >>> clipping = tfdeep.privacy.FlatClipping(2.0, rescaled=True)
        >>> float(clipping.factors(4.0, 2.0)), clipping.rescale(3.0, 2.0)
        (0.5, 1.5)
    """


@keras.saving.register_keras_serializable(package="tfdeep")
class AutomaticClipping(Clipping):
    """Normalises the gradient of each example.

    The factor is

        C / (|g| + gamma)

    Use it to be rid of choosing C: with `rescaled=True` it has no influence.

    Reference:
        Bu, Wang, Zha, Karypis, "Automatic Clipping: Differentially Private
        Deep Learning Made Easier and Stronger", 2023, AUTO-S. No deviation.

    Args:
        l2_norm_clip: float above 0, the norm that is never exceeded.
        rescaled: boolean, whether to divide by C what was clipped.
        stability: float above 0, the gamma of the formula.

    Raises:
        ValueError: if a number is out of range.

    Example:
        >>> import tfdeep
        >>> clipping = tfdeep.privacy.AutomaticClipping(1.0, stability=0.5)
        >>> float(clipping.factors(1.5, 1.0))
        0.5
    """

    def __init__(
        self,
        l2_norm_clip: float = 1.0,
        rescaled: bool = False,
        stability: float = 0.01,
    ):
        super().__init__(l2_norm_clip, rescaled)
        check_number("stability", stability, 0.0, 0.01)
        if stability == 0:
            raise ValueError(
                "`stability` must be above 0, or a gradient of 0 would be "
                "divided by 0. Received: stability=0. Pass for example 0.01."
            )
        self.stability = float(stability)

    def factors(self, norms, clip):
        return automatic_factors(norms, clip, self.stability)

    def get_config(self) -> dict:
        return {**super().get_config(), "stability": self.stability}


@keras.saving.register_keras_serializable(package="tfdeep")
class PerLayerClipping(Clipping):
    """Clips the gradient of each layer by itself, to C / sqrt(layers).

    The whole is then bounded by C. Use it where layers differ much in the
    size of their gradients.

    Reference:
        McMahan, Ramage, Talwar, Zhang, "Learning Differentially Private
        Recurrent Language Models", 2018, section 3. No deviation.

    Args:
        l2_norm_clip: float above 0, the largest norm of a whole gradient.
        rescaled: boolean, whether to divide by C what was clipped.

    Raises:
        ValueError: if `l2_norm_clip` is not a number above 0.

    Example:
        >>> import tfdeep
        >>> tfdeep.privacy.PerLayerClipping(1.0).per_layer
        True
    """

    per_layer = True


def as_clipping(value) -> Clipping:
    """A number stands for flat clipping to it."""
    return value if isinstance(value, Clipping) else FlatClipping(value)
