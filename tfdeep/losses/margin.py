"""The margin loss of capsule networks."""

import keras
from keras import ops

from tfdeep.checks import check_number
from tfdeep.layers.class_capsules import one_hot
from tfdeep.layers.class_labels import positive


def margin_loss(
    y_true, lengths, present: float = 0.9, absent: float = 0.1, weight=0.5
):
    """Sum over the classes k of the margins that are not kept.

        T_k max(0, m+ - |v_k|)^2 + w (1 - T_k) max(0, |v_k| - m-)^2

    Args:
        y_true: classes as numbers, or one-hot.
        lengths: tensor `(batch, classes)`, the norms of v.
        present: number, m+, wanted of the true class.
        absent: number, m-, allowed to the others.
        weight: number, w.

    Returns:
        A tensor `(batch,)`, NaN for what is no class.
    """
    lengths = ops.convert_to_tensor(lengths)
    true = one_hot(y_true, lengths.shape[-1], lengths.dtype)
    short = ops.square(positive(present - lengths))
    long = ops.square(positive(lengths - absent))
    return ops.sum(true * short + weight * (1 - true) * long, axis=-1)


@keras.saving.register_keras_serializable(package="tfdeep")
class MarginLoss(keras.losses.Loss):
    """The loss of capsule networks, on the lengths of class capsules.

    The true class shall have a length of 0.9 or more, every other one of 0.1
    or less: each class is asked for by itself, so that an image may show
    several (pass several ones in a row of `y_true`).

        L = sum_k T_k max(0, m+ - |v_k|)^2 + w (1 - T_k) max(0, |v_k| - m-)^2

    Reference:
        Sabour et al., "Dynamic Routing Between Capsules", 2017, eq. 4.
        Deviation from the code of "Momentum Capsule Networks", 2022: the mean
        over the batch, as everywhere in Keras, instead of the sum.

    Args:
        present: number, m+.
        absent: number, m-.
        weight: number from 0, w, of the classes that are not there.
        reduction: as of any Keras loss.
        name: optional name.
        dtype: optional dtype of the computation.

    Call arguments:
        y_true: classes as numbers, `(batch,)` or `(batch, 1)`, or as zeros
            and ones, `(batch, classes)`.
        y_pred: lengths, `(batch, classes)`.

    Raises:
        ValueError: if a number is not finite, or the weight negative.

    A label outside the classes gives NaN; TensorFlow raises an error as well,
    unless XLA compiles the step.

    Example:
        >>> import numpy as np, tfdeep
        >>> loss = tfdeep.losses.MarginLoss()
        >>> lengths = np.array([[0.4, 0.3]], "float32")
        >>> round(float(loss(np.array([0]), lengths)), 4)
        0.27
    """

    def __init__(
        self,
        present: float = 0.9,
        absent: float = 0.1,
        weight: float = 0.5,
        reduction="sum_over_batch_size",
        name="margin_loss",
        dtype=None,
    ):
        check_number("present", present)
        check_number("absent", absent)
        check_number("weight", weight, least=0)
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        self.present = present
        self.absent = absent
        self.weight = weight

    def call(self, y_true, y_pred):
        return margin_loss(
            y_true, y_pred, self.present, self.absent, self.weight
        )

    def get_config(self):
        return {
            **super().get_config(),
            "present": self.present,
            "absent": self.absent,
            "weight": self.weight,
        }
