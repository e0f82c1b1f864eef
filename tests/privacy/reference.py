"""Clipped gradients the slow way: one example after the other."""

import keras
import numpy as np
from keras import ops, tree

from tests.helpers import arrays
from tfdeep import backend
from tfdeep.privacy import PrivateModel


def cross_entropy():
    """The loss of a classifier that ends in logits, in today's precision."""
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def row(structure, index):
    """A batch of one example."""
    return tree.map_structure(
        lambda t: None if t is None else ops.convert_to_tensor(t[index][None]),
        structure,
    )


def gradient(model, x, y, weight=None):
    """The plain gradient of the compiled loss, of a batch of one."""
    trainable, state = backend.read_variables(model)

    def loss(trainable):
        outputs, _, _ = backend.stateless_call(
            model, trainable, state, x, training=True
        )
        with keras.StatelessScope():  # Trackers of outputs are not for this.
            return model.compute_loss(y=y, y_pred=outputs, sample_weight=weight)

    _, grads = backend.value_and_gradients(loss, trainable)
    return [each.astype("float64") for each in arrays(grads)]


def norm_of(grads):
    """The L2 norm of gradients as one vector."""
    return np.sqrt(sum(np.sum(np.square(each)) for each in grads))


def check(base, x, y, weight=None, compiled=None, **arguments):
    """Assert that the clipped sum of a private model is that of a loop.

    The loop differentiates the plain model. The clip is so low that all
    examples are clipped: a norm that is wrong makes a sum that is wrong.

    Args:
        base: the model.
        x: inputs of a batch, arrays.
        y: targets.
        weight: weights of the examples.
        compiled: arguments of `compile`; by default a classifier's.
        **arguments: those of `PrivateModel`.

    Returns:
        The private model.
    """
    compiled = compiled or {"loss": cross_entropy()}
    base.compile(**compiled)
    each = [
        gradient(base, row(x, i), row(y, i), row(weight, i))
        for i in range(len(tree.flatten(x)[0]))
    ]
    norms = np.array([norm_of(grads) for grads in each])
    clip = 0.9 * norms.min()
    expected = [
        sum(clip / norm * grad for norm, grad in zip(norms, same, strict=True))
        for same in zip(*each, strict=True)
    ]
    model = PrivateModel(base, l2_norm_clip=float(clip), **arguments)
    model.compile("sgd", **compiled)
    double = keras.config.floatx() == "float64"
    tolerance = 1e-10 if double else 1e-5
    # What nearly cancels is as precise as the largest of its kind.
    scale = max(np.abs(grad).max() for grad in expected)
    sums = arrays(model.clipped_sum(x, y, weight))
    for variable, ours, theirs in zip(
        base.trainable_variables, sums, expected, strict=True
    ):
        np.testing.assert_allclose(
            ours,
            theirs,
            rtol=tolerance,
            atol=tolerance * scale,
            err_msg=variable.path,
        )
    return model
