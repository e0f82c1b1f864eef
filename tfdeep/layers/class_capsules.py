"""What is read off the capsules of classes: probabilities, and one of them."""

import keras
from keras import ops

from tfdeep.layers.class_labels import rows_of_classes
from tfdeep.layers.routing import norm


@keras.saving.register_keras_serializable(package="tfdeep")
class CapsuleLength(keras.layers.Layer):
    """The lengths of capsules: how surely each is there.

        y_o = |v_o|

    With a gradient of 0 at 0. Use it after the last `RoutingCapsules` and
    train with `tfdeep.losses.MarginLoss`.

    Reference:
        Sabour et al., "Dynamic Routing Between Capsules", 2017, section 3.

    Args:
        **kwargs: `name`, `dtype` and further arguments of a Keras layer.

    Call arguments:
        inputs: tensor of capsules.

    Input shape:
        `(..., dim)`.

    Output shape:
        `(...)`.

    Example:
        >>> import numpy as np, tfdeep
        >>> lengths = tfdeep.layers.CapsuleLength()(np.array([[[3.0, 4.0]]]))
        >>> np.asarray(lengths).tolist()
        [[5.0]]
    """

    def __init__(self, **kwargs):
        super().__init__(**kwargs)

    def call(self, inputs):
        return norm(inputs)

    def compute_output_shape(self, input_shape):
        return tuple(input_shape[:-1])


@keras.saving.register_keras_serializable(package="tfdeep")
class CapsuleMask(keras.layers.Layer):
    """Keeps one capsule and makes the others zero, as a flat vector.

    Use it before the decoder that draws an input anew from the capsule of its
    class. In training the true class is kept if it is given; otherwise, and
    at inference, the longest capsule.

    Reference:
        Sabour et al., "Dynamic Routing Between Capsules", 2017, section 4.1.
        The code of "Momentum Capsule Networks", 2022, keeps the longest
        capsule in training, too.

    Args:
        **kwargs: `name`, `dtype` and further arguments of a Keras layer.

    Call arguments:
        inputs: tensor of capsules.
        classes: optional tensor, the true classes, as numbers or one-hot;
            what is no class gives NaN.
        training: boolean, whether to use them.

    Input shape:
        `(batch, number, dim)`.

    Output shape:
        `(batch, number * dim)`.

    Example:
        >>> import numpy as np, tfdeep
        >>> mask = tfdeep.layers.CapsuleMask()
        >>> capsules = np.array([[[1.0, 0.0], [3.0, 4.0]]])
        >>> np.asarray(mask(capsules)).tolist()
        [[0.0, 0.0, 3.0, 4.0]]
        >>> np.asarray(mask(capsules, np.array([0]), training=True)).tolist()
        [[1.0, 0.0, 0.0, 0.0]]
    """

    def __init__(self, **kwargs):
        super().__init__(**kwargs)

    def call(self, inputs, classes=None, training=None):
        _, count, dim = inputs.shape
        if training and classes is not None:
            kept = one_hot(classes, count, inputs.dtype)
        else:
            # Not `argmax`: Keras' casts bits, which ONNX and LiteRT cannot.
            _, longest = ops.top_k(ops.sum(ops.square(inputs), -1), 1)
            kept = ops.one_hot(longest[:, 0], count, dtype=inputs.dtype)
        return ops.reshape(inputs * kept[..., None], (-1, count * dim))

    def compute_output_shape(self, inputs_shape, classes_shape=None):
        batch, count, dim = inputs_shape
        return (batch, count * dim)


def one_hot(classes, count: int, dtype):
    """Classes as one-hot rows, whichever way they came."""
    classes = ops.convert_to_tensor(classes)
    if len(classes.shape) == 2 and classes.shape[-1] == count:
        return ops.cast(classes, dtype)
    return rows_of_classes(ops.reshape(classes, (-1,)), count, dtype)
