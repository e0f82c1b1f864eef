"""A query on the native engine gives what it gives in TF Privacy."""

import keras
import numpy as np
import pytest
from keras import ops

from tests.privacy.tf_privacy.queries import (
    COUNT,
    KINDS,
    QUERIES,
    RECORDS,
    SHAPES,
    adaptive_tree,
    first_update,
    reference,
    run,
    tree,
)
from tfdeep.privacy import tf_privacy

pytestmark = pytest.mark.slow


def name(make):
    return make.__name__


@pytest.mark.parametrize("make", QUERIES, ids=name)
def test_updates_equal_tf_privacy_without_noise(make):
    """Of whole batches and of parts; padding is no record."""
    query = make(0.0)
    mechanism = tf_privacy.QueryMechanism(query, max_updates=4)
    state = mechanism.initial_state(SHAPES)
    shapes = [each.shape for each in state]
    theirs = query.initial_global_state()
    for parts, real in ((1, COUNT), (3, 4), (1, 4), (3, COUNT)):
        present = (np.arange(COUNT) < real).astype("float32")
        ours, state = run(mechanism, state, present, parts=parts)
        expected, theirs = reference(query, theirs, [r[:real] for r in RECORDS])
        for a, b in zip(ours, expected, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-5)
        assert [tuple(each.shape) for each in state] == shapes


@pytest.mark.parametrize("make", KINDS, ids=name)
def test_noise_has_the_deviation_that_was_asked_for(make):
    """Rescaled sums are divided by the clip, and their noise as well."""
    mechanism = tf_privacy.QueryMechanism(make(0.0))
    clip = float(mechanism.clip_norm(99.0, mechanism.initial_state(SHAPES)))
    assert clip == mechanism.l2_norm_clip < 2.0
    plain, small = (
        first_update(make(0.0), rescaled=each) for each in (False, True)
    )
    for a, b in zip(plain, small, strict=True):
        np.testing.assert_allclose(a / clip, b, atol=1e-5)
    for expected, rescaled in ((plain, False), (small, True)):
        noised = first_update(make(1.5), rescaled=rescaled)
        noise = np.concatenate(
            [np.ravel(a - b) for a, b in zip(noised, expected, strict=True)]
        )
        deviation = 1.5 * (1.0 if rescaled else clip)
        error = deviation / np.sqrt(2 * noise.size)
        assert abs(np.std(noise) - deviation) < 5 * error


@pytest.mark.parametrize("make", [*KINDS[:3], adaptive_tree], ids=name)
def test_noise_is_fresh(make):
    keras.utils.set_random_seed(1)
    first, second = (first_update(make(1.0))[0] for _ in range(2))
    assert not np.any(first == second)


@pytest.mark.parametrize("make", KINDS, ids=name)
def test_noise_after_the_first_is_of_the_stream_that_is_given(make):
    mechanism = tf_privacy.QueryMechanism(make(1.0))
    state = mechanism.initial_state(SHAPES)

    def fixed(shape):
        rng = np.random.default_rng(7)
        return ops.convert_to_tensor(rng.normal(size=tuple(shape)), "float32")

    found = []
    for _ in range(2):
        _, after = run(mechanism, state, draw=fixed)
        found.append(run(mechanism, after, draw=fixed)[0])
    np.testing.assert_array_equal(found[0][0], found[1][0])


def test_a_full_tree_is_an_error():
    mechanism = tf_privacy.QueryMechanism(tree(1.0), max_updates=1)
    state = mechanism.initial_state(SHAPES)
    with pytest.raises(Exception, match="noise tree is full"):
        for _ in range(20):
            _, state = run(mechanism, state)
