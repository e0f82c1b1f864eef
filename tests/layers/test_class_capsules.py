"""Lengths of capsules, and the one that is kept for the decoder."""

import numpy as np
import pytest
from keras import ops

from tests.helpers import arrays, images
from tfdeep import backend
from tfdeep.layers import CapsuleLength, CapsuleMask


def test_length_and_its_gradient():
    x = images(3, 4, 2)
    x[0, 0] = 0
    length = CapsuleLength()
    expected = np.sqrt((x**2).sum(-1))
    np.testing.assert_allclose(length(x), expected, 1e-6)
    tensor = ops.convert_to_tensor(x)
    (dx,) = arrays(backend.vjp(length, [tensor], ops.ones((3, 4))))
    direction = x / np.where(expected > 0, expected, 1)[..., None]
    np.testing.assert_allclose(dx, direction, 1e-5, 1e-6)


@pytest.mark.parametrize("form", [np.array, lambda x: np.eye(4)[x]])
def test_mask_keeps_the_true_class_in_training_else_the_longest(form):
    x, mask = images(3, 4, 2), CapsuleMask()
    classes = np.array([3, 0, 1])
    longest = (x**2).sum(-1).argmax(-1)
    for kept, y in (
        (classes, mask(x, form(classes), training=True)),
        (longest, mask(x, form(classes), training=False)),
        (longest, mask(x, training=True)),
    ):
        expected = np.where(np.eye(4)[kept][..., None] > 0, x, 0)
        np.testing.assert_array_equal(y, expected.reshape(3, 8))


@pytest.mark.tensorflow
def test_mask_is_exported_without_casting_bits():
    """ONNX and LiteRT have no `Bitcast`, which Keras' `argmax` makes."""
    import tensorflow as tf

    call = tf.function(CapsuleMask()).get_concrete_function(images(3, 4, 2))
    kinds = {operation.type for operation in call.graph.get_operations()}
    assert "OneHot" in kinds
    assert "Bitcast" not in kinds
