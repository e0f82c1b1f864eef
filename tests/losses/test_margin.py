"""The margin loss against its definition."""

import keras
import numpy as np
import pytest

from tests.helpers import images
from tfdeep.losses import MarginLoss, margin_loss


def by_loops(labels, lengths):
    losses = []
    for label, row in zip(labels, lengths, strict=True):
        loss = 0.0
        for k, length in enumerate(row):
            if k == label:
                loss += max(0, 0.9 - length) ** 2
            else:
                loss += 0.5 * max(0, length - 0.1) ** 2
        losses.append(loss)
    return losses


@pytest.mark.parametrize("form", ["numbers", "column", "one_hot"])
def test_equals_its_definition(form):
    labels, lengths = np.array([0, 2, 1, 1]), np.abs(images(4, 3))
    forms = {
        "numbers": labels,
        "column": labels[:, None],
        "one_hot": np.eye(3)[labels],
    }
    expected = by_loops(labels, lengths)
    np.testing.assert_allclose(
        margin_loss(forms[form], lengths), expected, 1e-5
    )
    mean = MarginLoss()(forms[form], lengths)
    np.testing.assert_allclose(mean, np.mean(expected), 1e-5)


def test_round_trip():
    loss = MarginLoss(0.8, 0.2, 0.7, name="mine")
    data = keras.saving.serialize_keras_object(loss)
    twin = keras.saving.deserialize_keras_object(data)
    assert twin.get_config() == loss.get_config()
    assert twin.name == "mine"
    labels, lengths = np.array([0, 2]), np.abs(images(2, 3))
    expected = margin_loss(labels, lengths, 0.8, 0.2, 0.7)
    np.testing.assert_allclose(twin(labels, lengths), np.mean(expected), 1e-6)


def test_bad_arguments():
    for arguments in ({"present": "0.9"}, {"weight": -1}, {"absent": np.nan}):
        with pytest.raises(ValueError, match=next(iter(arguments))):
            MarginLoss(**arguments)
