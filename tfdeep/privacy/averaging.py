"""An exponential average of the weights, which evens out the noise."""

import keras
from keras import ops

from tfdeep.checks import check_probability
from tfdeep.privacy.frozen import Frozen


def decay_after(updates, limit: float):
    """min(limit, (1 + t) / (10 + t)): short at first, then long."""
    return ops.minimum(limit, (1.0 + updates) / (10.0 + updates))


@keras.saving.register_keras_serializable(package="tfdeep")
class Averaging(Frozen):
    """Averages the weights over updates, with a warm-up.

    The average is post-processing: it costs no privacy. It is evaluated
    beside the weights themselves, as `averaged_loss` and so on.

        mean <- d mean + (1 - d) weight,  d = min(limit, (1 + t) / (10 + t))

    Reference:
        De, Berrada, Hayes, Smith, Balle, "Unlocking High-Accuracy
        Differentially Private Image Classification through Scale", 2022,
        section 3.3. No deviation.

    Args:
        limit: float in [0, 1], the decay that is reached in the end.

    Raises:
        ValueError: if `limit` is no number in [0, 1].

    Example:
        >>> import tfdeep
        >>> tfdeep.privacy.Averaging(0.999).limit
        0.999
    """

    def __init__(self, limit: float = 0.999):
        check_probability("limit", limit)
        self.limit = limit

    def step(self, averages, variables, updates, due):
        """Move the averages, where an update was due.

        Args:
            averages: variables that hold the averages.
            variables: those that they are of.
            updates: scalar, how many updates there were before this one.
            due: scalar boolean.
        """
        decay = decay_after(ops.cast(updates, "float32"), self.limit)
        decay = ops.where(due, decay, 1.0)
        for average, variable in zip(averages, variables, strict=True):
            d = ops.cast(decay, average.dtype)
            average.assign(d * average + (1.0 - d) * variable)

    def get_config(self):
        return {"limit": self.limit}

    @classmethod
    def from_config(cls, config):
        return cls(**config)
