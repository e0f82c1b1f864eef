"""A query that somebody wrote gets every record, and fresh noise."""

import keras
import numpy as np
from keras import ops

from tests.privacy.tf_privacy.queries import (
    RECORDS,
    first_update,
    gaussian,
    specs,
)
from tfdeep.privacy import tf_privacy


def their_class(name):
    """A query as TF Privacy has it."""
    from tfdeep.privacy.tf_privacy import queries

    return queries.their_class(name)


def test_a_class_of_ones_own_is_not_taken_for_its_base():
    class Halved(their_class("GaussianSumQuery")):
        def preprocess_record(self, params, record):
            record = super().preprocess_record(params, record)
            return [each / 2 for each in record]

    halved, plain = map(first_update, (Halved(1.5, 0.0), gaussian()))
    for a, b in zip(halved, plain, strict=True):
        np.testing.assert_allclose(a, b / 2, atol=1e-5)


def test_a_foreign_query_gets_every_record():
    class Foreign(their_class("NoPrivacySumQuery")):
        def preprocess_record(self, params, record):
            return [ops.sign(each) for each in record]

    for a, b in zip(first_update(Foreign()), RECORDS, strict=True):
        np.testing.assert_allclose(a, np.sign(b).sum(axis=0), atol=1e-5)


def test_a_tree_with_another_clip_gets_every_record():
    query = their_class("TreeResidualSumQuery").build_l2_gaussian_query(
        2.0, 0.0, specs()
    )
    assert tf_privacy.QueryMechanism(query).needs_records


def test_its_noise_is_fresh():
    class Own(their_class("GaussianSumQuery")):
        pass

    found = []
    for _ in range(2):
        keras.utils.set_random_seed(1)
        found.append(first_update(Own(2.0, 1.0))[0])
    assert not np.any(found[0] == found[1])
