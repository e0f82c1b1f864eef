"""TF Privacy's optimizers: its gradients, on Keras 3's updates."""

import keras
import numpy as np
import pytest
from keras import ops

from tests.privacy.tf_privacy.made import (
    EVERY,
    KINDS,
    ROWS,
    clipped_mean,
    gradient,
    losses,
    made,
    quantile_query,
    weight,
)
from tfdeep.privacy import tf_privacy

pytestmark = pytest.mark.slow


def keras_class(name):
    """The class of Keras that the name speaks of; SGD where none."""
    found = [each for each in ("Adam", "Adagrad") if f"{each}Opt" in name]
    return getattr(keras.optimizers, *(found or ["SGD"]))


@pytest.mark.parametrize("name", EVERY)
def test_update_is_that_of_the_keras_class_by_the_mean_of_clipped_rows(name):
    w, plain = weight(), weight()
    private = made(name, learning_rate=0.1)
    base = keras_class(name)(learning_rate=0.1)
    expected = clipped_mean(ROWS, 1.0)
    for _ in range(2 if name in KINDS else 1):
        pairs = private._compute_gradients(losses(w), [w])
        assert pairs[0][1] is w
        np.testing.assert_allclose(pairs[0][0], expected, atol=1e-5)
        private.apply_gradients(pairs)
        base.apply([expected], [plain])
    np.testing.assert_allclose(w.numpy(), plain.numpy(), atol=1e-5)


@pytest.mark.parametrize(
    "name, chunk",
    [*((name, 4) for name in KINDS), (KINDS[0], 1), (KINDS[0], 16)],
)
def test_chunks_give_the_same_sum(name, chunk):
    w, rows = weight(), ROWS[: 3 if chunk == 1 else 10]
    sums, seen = made(name).clipped_sum(
        lambda parts: ops.matmul(parts[0], w.value),
        [ops.convert_to_tensor(rows)],
        [w],
        chunk,
    )
    expected = len(rows) * clipped_mean(rows, 1.0)
    np.testing.assert_allclose(sums[0], expected, atol=1e-5)
    np.testing.assert_allclose(seen, rows.sum(axis=1), atol=1e-5)


@pytest.mark.parametrize("name", EVERY)
def test_config_makes_the_same(name):
    optimizer = made(name, 2.0, 0.5, learning_rate=0.25, weight_decay=0.5)
    config = keras.optimizers.serialize(optimizer)
    again = keras.optimizers.deserialize(config)
    assert type(again) is type(optimizer)
    assert keras.optimizers.serialize(again) == config
    assert again.l2_norm_clip == 2.0 and again.weight_decay == 0.5
    mechanism = again.privacy_settings()["mechanism"]
    # Of a tree there is no one multiplier, but that of the first update.
    noise = mechanism.noise_multiplier or mechanism.sum_multiplier
    assert noise == pytest.approx(0.5)


@pytest.mark.parametrize("name", KINDS[:3])
def test_noise_has_the_deviation_that_was_asked_for(name):
    size = 20_000
    w = keras.Variable(np.zeros(size, "float32"))
    zero = lambda: ops.zeros((4,)) * ops.sum(w.value)  # noqa: E731
    optimizer = made(name, clip=2.0, noise=1.5)
    ((found, _),) = optimizer._compute_gradients(zero, [w])
    # The standard error of a standard deviation is sigma / sqrt(2 n).
    error = 3.0 / np.sqrt(2 * size)
    assert abs(np.std(4 * np.array(found)) - 3.0) < 5 * error


@pytest.mark.parametrize("name", KINDS)
def test_noise_does_not_follow_the_global_seed(name):
    found = []
    for _ in range(2):
        keras.utils.set_random_seed(3)
        found.append(gradient(made(name, noise=1.0), weight()))
    assert not np.any(found[0] == found[1])


@pytest.mark.parametrize("name", KINDS)
def test_noise_is_fresh_in_a_function_compiled_again(name):
    import tensorflow as tf

    optimizer, w, found = made(name, noise=1.0), weight(), []

    def step():
        return optimizer._compute_gradients(losses(w), [w])[0][0]

    keras.utils.set_random_seed(3)
    for _ in range(2):
        tf.random.set_seed(3)
        compiled = tf.function(step, autograph=False)
        found += [np.array(compiled()), np.array(compiled())]
    assert len({each.tobytes() for each in found}) == 4


def test_adaptive_clip_moves_in_a_compiled_step_and_is_saved():
    """Each gradient is clipped to the norm that the steps before it found."""
    import tensorflow as tf

    cls = tf_privacy.GenericDPSGDOptimizer
    optimizer, w = cls(quantile_query(noise=0.0)), weight()

    @tf.function(autograph=False)
    def step():
        return optimizer._compute_gradients(losses(w), [w])[0][0]

    clip, clips = 1.0, []
    for _ in range(4):
        clips.append(clip)
        below = np.mean(np.linalg.norm(ROWS, axis=1) <= clip)
        clip *= np.exp(-0.2 * (below - 0.5))
    assert len(set(clips)) == 4
    for each in clips[:3]:
        np.testing.assert_allclose(step(), clipped_mean(ROWS, each), atol=1e-5)
    store: dict = {}
    optimizer.save_own_variables(store)
    again = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    again.build([w])
    again.load_own_variables(store)
    expected = clipped_mean(ROWS, clips[3])
    np.testing.assert_allclose(gradient(again, w), expected, atol=1e-5)


def test_any_keras_optimizer_becomes_private():
    cls = tf_privacy.make_keras_optimizer_class(keras.optimizers.Lion)
    optimizer, w = cls(1.0, 0.0, learning_rate=0.5), weight()
    optimizer.apply_gradients(optimizer._compute_gradients(losses(w), [w]))
    expected = 1.0 - 0.5 * np.sign(clipped_mean(ROWS, 1.0))
    np.testing.assert_allclose(w.numpy(), expected, atol=1e-5)
    cls = tf_privacy.make_vectorized_keras_optimizer_class(
        keras.optimizers.Lion
    )
    assert cls.__name__ == "VectorizedDPKerasLionOptimizer"


def test_microbatches_are_clipped_as_one():
    optimizer = made("DPKerasSGDOptimizer", num_microbatches=5)
    pairs = ROWS.reshape(5, 2, 3).mean(axis=1)
    expected = clipped_mean(pairs, 1.0)
    np.testing.assert_allclose(
        gradient(optimizer, weight()), expected, atol=1e-5
    )


def test_accumulation_is_that_of_keras():
    optimizer = made(
        "DPKerasSGDOptimizer", gradient_accumulation_steps=2, learning_rate=1.0
    )
    w = weight()
    optimizer.apply_gradients(optimizer._compute_gradients(losses(w), [w]))
    np.testing.assert_array_equal(w.numpy(), np.ones(3))
    optimizer.apply_gradients(optimizer._compute_gradients(losses(w), [w]))
    expected = 1.0 - clipped_mean(ROWS, 1.0)
    np.testing.assert_allclose(w.numpy(), expected, atol=1e-5)
