"""What is no class is never taken for a class that is not there."""

import keras
import numpy as np
import pytest
from keras import ops

from tests.helpers import compiled
from tfdeep.layers import CapsuleMask
from tfdeep.layers.class_labels import positive, rows_of_classes
from tfdeep.losses import MarginLoss
from tfdeep.training import L2SVM

SCORES = np.array([[0.4, 0.3, 0.2], [0.1, 0.9, 0.5]], "float32")
USES = {
    "MarginLoss": MarginLoss(reduction=None),
    "L2SVM": L2SVM(reduction=None),
    "CapsuleMask": lambda labels, scores: ops.sum(
        CapsuleMask()(scores[:, :, None], labels, training=True), axis=-1
    ),
}
WRONG = [[3, 0], [-1, 0], [np.nan, 0.0], [0.5, 0.0], [[3], [0]]]


def values(use, labels, scores=SCORES, mode="xla"):
    """What comes out for each sample, compiled: nothing can be raised."""
    labels = np.asarray(labels)
    if labels.dtype == "float64":
        labels = labels.astype("float32")
    (found,) = compiled(USES[use], mode)(labels, scores)
    return found


@pytest.mark.parametrize("labels", WRONG)
@pytest.mark.parametrize("use", USES)
def test_no_class_gives_nan(use, labels):
    found = values(use, labels)
    assert np.isnan(found[0]) and np.isfinite(found[1])


@pytest.mark.tensorflow
@pytest.mark.parametrize("mode", ["eager", "graph"])
@pytest.mark.parametrize("labels", WRONG)
@pytest.mark.parametrize("use", USES)
def test_tensorflow_raises(use, labels, mode):
    import tensorflow as tf

    with pytest.raises(
        tf.errors.InvalidArgumentError, match=r"classes in \[0, 3\)"
    ):
        values(use, labels, mode=mode)


@pytest.mark.parametrize("use", ["MarginLoss", "L2SVM"])
def test_nan_in_rows_or_scores_is_kept(use):
    rows = np.array([[1, 0, np.nan], [0, 1, 0]], "float32")
    scores = np.array([[0.4, 0.3, np.nan], [0.1, 0.9, 0.5]], "float32")
    for found in (values(use, rows), values(use, [0, 1], scores)):
        assert np.isnan(found[0]) and np.isfinite(found[1])


def test_nan_for_one_of_two_classes():
    scores = np.array([[0.4], [0.3]], "float32")
    found = values("L2SVM", [np.nan, 1.0], scores)
    assert np.isnan(found[0]) and np.isfinite(found[1])


@pytest.mark.tensorflow
def test_fit_stops_on_a_wrong_label():
    import tensorflow as tf

    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)])
    model.compile("sgd", MarginLoss())
    with pytest.raises(tf.errors.InvalidArgumentError, match="Labels must be"):
        model.fit(np.ones((4, 2)), np.array([0, 1, 2, 3]), verbose=0)


def test_rows_and_hinge_of_what_is_right():
    rows = rows_of_classes(ops.convert_to_tensor([[2, 0]]), 3, "float32")
    np.testing.assert_array_equal(rows, [[[0, 0, 1], [1, 0, 0]]])
    x = np.array([-np.inf, -1.0, 0.0, 2.0, np.inf], "float32")
    np.testing.assert_array_equal(
        positive(ops.convert_to_tensor(x)), np.maximum(x, 0)
    )
