"""The squared hinge of a multi-class L2-SVM, in whatever form labels come."""

import numpy as np
import pytest
from keras import ops

from tests.helpers import arrays
from tfdeep import backend
from tfdeep.training import L2SVM
from tfdeep.training.hinge import check_classes, l2_svm


def slow_hinge(classes, scores):
    """Loop over samples and classes; the mean over samples, its gradient."""
    total, gradient = 0.0, np.zeros_like(scores)
    for i, row in enumerate(scores):
        for c, score in enumerate(row):
            sign = 1.0 if c == classes[i] else -1.0
            gap = max(0.0, 1.0 - sign * score)
            total += gap**2 / len(scores)
            gradient[i, c] = -2 * sign * gap / len(scores)
    return total, gradient


@pytest.fixture
def scores():
    return np.random.default_rng(0).normal(size=(7, 4)).astype("float32")


CLASSES = np.array([0, 1, 2, 3, 3, 0, 1])
FORMS = {
    "numbers": CLASSES,
    "a column": CLASSES[:, None],
    "one-hot": np.eye(4)[CLASSES],
    "signs": 2 * np.eye(4)[CLASSES] - 1,
}


@pytest.mark.parametrize("labels", FORMS.values(), ids=list(FORMS))
def test_value_and_gradient_are_those_of_the_loop(scores, labels):
    value, gradients = backend.value_and_gradients(
        lambda tensors: L2SVM()(labels, tensors[0]),
        [ops.convert_to_tensor(scores)],
    )
    expected, gradient = slow_hinge(CLASSES, scores)
    assert float(value) == pytest.approx(expected, rel=1e-6)
    np.testing.assert_allclose(arrays(gradients)[0], gradient, 1e-5, 1e-7)


@pytest.mark.parametrize("shape", [(3,), (3, 1)])
def test_one_score_of_two_classes(shape):
    labels = np.array([0.0, 1.0, 1.0], "float32").reshape(shape)
    scores = np.array([[-2.0], [0.5], [-1.0]], "float32")
    values = l2_svm(
        ops.convert_to_tensor(labels), ops.convert_to_tensor(scores)
    )
    np.testing.assert_allclose(arrays([values])[0], [0.0, 0.25, 4.0])


def test_samples_have_weights(scores):
    weights = np.array([0, 0, 1, 0, 0, 0, 0], "float32")
    expected, _ = slow_hinge(CLASSES[2:3], scores[2:3])
    weighted = float(L2SVM()(CLASSES, scores, weights))
    assert weighted == pytest.approx(expected / 7, rel=1e-6)


@pytest.mark.parametrize("wrong", [-1, 4])
def test_a_class_that_does_not_exist_cannot_hide(scores, wrong):
    labels = np.array([0, 1, 2, 3, wrong, 0, 1])
    with pytest.raises(ValueError, match="must be numbers from 0 to 3"):
        check_classes(labels, 4)


def test_columns_that_match_no_classes():
    with pytest.raises(ValueError, match="Received: 3 columns"):
        check_classes(np.eye(3), 4)


@pytest.mark.parametrize("labels", [*FORMS.values(), np.zeros((0,))])
def test_labels_that_are_fine(labels):
    assert check_classes(labels, 4) is None
