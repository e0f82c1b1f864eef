"""The pull on scales of network slimming, as a regularizer of Keras."""

from typing import Any

import keras
from keras import ops


def pull(gamma, strength: float):
    """Zero, whose gradient is strength * sign(gamma).

    The subgradient of strength * sum |gamma|, 0 at 0 on every backend.
    """
    sign = ops.stop_gradient(ops.sign(gamma))
    return strength * ops.sum(sign * (gamma - ops.stop_gradient(gamma)))


@keras.saving.register_keras_serializable(package="tfdeep")
class SlimmingPenalty(keras.regularizers.Regularizer):
    """What `Slimming` puts on scales, around the regularizer that they had.

    Args:
        strength: float.
        regularizer: optional regularizer that the scale had before.
    """

    def __init__(self, strength: float, regularizer: Any = None):
        self.strength = strength
        self.regularizer = keras.regularizers.get(regularizer)

    def __call__(self, x):
        found = pull(x, self.strength)
        return found + self.regularizer(x) if self.regularizer else found

    def get_config(self):
        inner = self.regularizer and keras.regularizers.serialize(
            self.regularizer
        )
        return {"strength": self.strength, "regularizer": inner}


def is_attached(gamma: Any) -> bool:
    """Whether a scale is pulled to zero."""
    return isinstance(getattr(gamma, "regularizer", None), SlimmingPenalty)


def own_regularizer(gamma: keras.Variable) -> Any:
    """The regularizer of a scale besides the penalty."""
    found = gamma.regularizer
    return found.regularizer if is_attached(gamma) else found


def regularize(layer: Any, regularizer: Any) -> None:
    """Give the scale of a batch normalization a regularizer."""
    layer.gamma.regularizer = regularizer
    layer.gamma_regularizer = regularizer  # This is saved.
