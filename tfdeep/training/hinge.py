"""The squared hinge of a multi-class L2-SVM, from labels of any usual form."""

import keras
from keras import ops

from tfdeep.checks import check_labels
from tfdeep.layers.class_labels import positive, rows_of_classes


def l2_svm(labels, scores):
    """sum_c max(0, 1 - t_c s_c)^2 of each sample, t_c = 1 or -1."""
    gap = positive(1 - signs(labels, scores) * scores)
    return ops.sum(ops.square(gap), axis=-1)


def signs(labels, scores):
    """1 for the class of a sample and -1 for the others, shaped as `scores`.

    A class that does not exist, and NaN, give NaN: -1 would hide them.
    """
    classes = scores.shape[-1]
    if classes == 1:
        labels = ops.reshape(labels, ops.shape(scores))
    if classes == 1 or not is_sparse(labels.shape, scores.shape):
        labels = ops.cast(labels, scores.dtype)
        signs = ops.where(labels > 0.5, ops.ones_like(scores), -1.0)
        return ops.where(ops.isnan(labels), labels, signs)
    if len(labels.shape) == len(scores.shape):
        labels = ops.squeeze(labels, -1)
    return 2 * rows_of_classes(labels, classes, scores.dtype) - 1


def is_sparse(labels: tuple, scores: tuple) -> bool:
    """Whether labels of this shape are numbers of classes."""
    return len(labels) < len(scores) or labels[-1] != scores[-1]


@keras.saving.register_keras_serializable(package="tfdeep")
class L2SVM(keras.losses.Loss):
    """The loss of an L2-SVM: squared hinges summed over the classes.

    The companion objective of deeply-supervised nets, on scores without an
    activation:

        l = mean_i sum_c max(0, 1 - t_ic s_ic)^2,  t_ic = 1 or -1

    `keras.losses.SquaredHinge` takes the mean over the classes, and wants
    the targets themselves. With more than ten classes a crossentropy
    converges better.

    Reference:
        Lee, Xie, Gallagher, Zhang, Tu, "Deeply-Supervised Nets", 2015. No
        deviation.

    Args:
        **kwargs: `name`, `reduction` and `dtype` of `keras.losses.Loss`.

    Call arguments:
        y_true: numbers of classes, of shape `(batch,)` or `(batch, 1)`; or
            one-hot rows; or, for one score, labels of 0 and 1.
        y_pred: scores, of shape `(batch, classes)`.
        sample_weight: optional weights, of shape `(batch,)`.

    Example:
        >>> import numpy as np
        >>> scores = np.array([[2.0, -0.5]], "float32")
        >>> float(L2SVM()(np.array([0]), scores))
        0.25
        >>> float(L2SVM()(np.array([1]), scores))
        11.25
    """

    def __init__(self, name: str = "l2_svm", **kwargs):
        super().__init__(name=name, **kwargs)

    def call(self, y_true, y_pred):
        return l2_svm(y_true, y_pred)


def check_classes(labels, classes: int) -> None:
    """Raise `ValueError` unless an array labels one of so many classes.

    Args:
        labels: a NumPy array.
        classes: the number of scores.
    """
    if labels.ndim > 1 and labels.shape[-1] not in (1, classes):
        raise ValueError(
            f"The labels must have {classes} columns for a hinge of {classes} "
            f"classes, or be numbers of classes. Received: {labels.shape[-1]} "
            "columns. Match the head to the labels, or give its loss."
        )
    one_hot = labels.ndim > 1 and labels.shape[-1] == classes
    if classes == 1 or one_hot:
        return
    check_labels(labels, classes)
