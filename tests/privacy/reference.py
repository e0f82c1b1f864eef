"""Clipped gradients the slow way: one example after the other."""

import keras
import numpy as np
from keras import ops, tree

from tests.helpers import arrays
from tfdeep import backend


def row(structure, index):
    """A batch of one example."""
    return tree.map_structure(
        lambda t: None if t is None else ops.convert_to_tensor(t[index][None]),
        structure,
    )


def gradient(model, x, y, weight=None):
    """The plain gradient of the compiled loss, of a batch of one."""
    trainable, state = backend.read_variables(model.base)

    def loss(trainable):
        outputs, _, _ = backend.stateless_call(
            model.base, trainable, state, x, training=True
        )
        with keras.StatelessScope():  # Trackers of outputs are not for this.
            return model.compute_loss(y=y, y_pred=outputs, sample_weight=weight)

    _, grads = backend.value_and_gradients(loss, trainable)
    return [each.astype("float64") for each in arrays(grads)]


def clipped(model, x, y, weight=None, clip=1.0):
    """`(clipped sum, norms)` by a loop over examples."""
    total, norms = None, []
    for index in range(len(tree.flatten(x)[0])):
        grads = gradient(
            model, row(x, index), row(y, index), row(weight, index)
        )
        norm = np.sqrt(sum(np.sum(each**2) for each in grads))
        norms.append(norm)
        scaled = [min(1.0, clip / norm) * each for each in grads]
        total = (
            scaled
            if total is None
            else [a + b for a, b in zip(total, scaled, strict=True)]
        )
    return total, np.array(norms)


def compare(model, x, y, weight=None, clip=1.0, tolerance=1e-5):
    """Assert that a model's clipped sum and norms are those of the loop."""
    expected, norms = clipped(model, x, y, weight, clip)
    (measured,) = arrays([model.per_example_norms(x, y, weight)])
    # What nearly cancels is as precise as the largest of its kind.
    np.testing.assert_allclose(
        measured, norms, rtol=tolerance, atol=tolerance * norms.max()
    )
    scale = max(np.abs(each).max() for each in expected)
    for ours, theirs in zip(
        arrays(model.clipped_sum(x, y, weight)), expected, strict=True
    ):
        np.testing.assert_allclose(
            ours, theirs, rtol=tolerance, atol=tolerance * scale
        )
