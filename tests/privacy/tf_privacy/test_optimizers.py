"""TF Privacy's optimizers: its gradients, on Keras 3's updates."""

import keras
import numpy as np
import pytest
from keras import ops

from tests.helpers import images
from tfdeep.privacy import tf_privacy

ROWS = images(10, 3)
GAUSSIAN = (
    "DPKerasSGDOptimizer",
    "DPKerasAdamOptimizer",
    "DPKerasAdagradOptimizer",
    "VectorizedDPKerasSGDOptimizer",
    "VectorizedDPKerasAdamOptimizer",
    "VectorizedDPKerasAdagradOptimizer",
)
QUANTILE = {
    "initial_l2_norm_clip": 1.0,
    "noise_multiplier": 0.5,
    "target_unclipped_quantile": 0.5,
    "learning_rate": 0.2,
    "clipped_count_stddev": 0.5,
    "expected_num_records": 10,
}


def made(name, clip=1.0, noise=0.0, **kwargs):
    """One of the optimizers by its name."""
    cls = getattr(tf_privacy, name)
    if name == "DPFTRLTreeAggregationOptimizer":
        kwargs.setdefault("var_list_or_model", [[3]])
    if name.startswith("GenericDP"):
        query = tf_privacy.GaussianSumQuery(clip, clip * noise)
        return cls(query, **kwargs)
    return cls(l2_norm_clip=clip, noise_multiplier=noise, **kwargs)


EVERY = (
    *GAUSSIAN,
    "GenericDPSGDOptimizer",
    "GenericDPAdamOptimizer",
    "GenericDPAdagradOptimizer",
    "DPFTRLTreeAggregationOptimizer",
)


def weight():
    return keras.Variable(np.ones(3, "float32"), name="w")


def losses(w, rows=ROWS):
    """A loss for each row, whose gradient is that row."""
    return lambda: ops.matmul(ops.convert_to_tensor(rows), w.value)


def clipped_mean(rows, clip):
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return (rows * np.minimum(1.0, clip / norms)).mean(axis=0)


@pytest.mark.parametrize("name", EVERY)
def test_gradient_is_the_mean_of_clipped_rows(name):
    w = weight()
    ((gradient, variable),) = made(name)._compute_gradients(losses(w), [w])
    assert variable is w
    np.testing.assert_allclose(gradient, clipped_mean(ROWS, 1.0), atol=1e-5)


@pytest.mark.parametrize("name", EVERY)
def test_update_is_that_of_the_keras_class(name):
    w, plain = weight(), weight()
    private = made(name, learning_rate=0.1)
    base = keras.optimizers.get(private.keras_class(learning_rate=0.1))
    for _ in range(3):
        private.apply_gradients(private._compute_gradients(losses(w), [w]))
        base.apply([clipped_mean(ROWS, 1.0)], [plain])
    np.testing.assert_allclose(w.numpy(), plain.numpy(), atol=1e-5)


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("chunk", [1, 4, 16])
def test_chunks_give_the_same_sum(name, chunk):
    w = weight()
    sums, seen = made(name).clipped_sum(
        lambda parts: ops.matmul(parts[0], w.value),
        [ops.convert_to_tensor(ROWS)],
        [w],
        chunk,
    )
    np.testing.assert_allclose(sums[0], 10 * clipped_mean(ROWS, 1.0), atol=1e-5)
    np.testing.assert_allclose(seen, ROWS.sum(axis=1), atol=1e-5)


@pytest.mark.parametrize("name", EVERY)
def test_config_makes_the_same(name):
    optimizer = made(name, 2.0, 0.5, learning_rate=0.25, weight_decay=0.5)
    config = keras.optimizers.serialize(optimizer)
    again = keras.optimizers.deserialize(config)
    assert type(again) is type(optimizer)
    assert keras.optimizers.serialize(again) == config
    assert again.l2_norm_clip == 2.0 and again.weight_decay == 0.5


@pytest.mark.parametrize("name", GAUSSIAN)
def test_noise_has_the_deviation_that_was_asked_for(name):
    size = 20_000
    w = keras.Variable(np.zeros(size, "float32"))
    zero = lambda: ops.zeros((4,)) * ops.sum(w.value)  # noqa: E731
    optimizer = made(name, clip=2.0, noise=1.5)
    ((gradient, _),) = optimizer._compute_gradients(zero, [w])
    # The standard error of a standard deviation is sigma / sqrt(2 n).
    error = 3.0 / np.sqrt(2 * size)
    assert abs(np.std(4 * np.array(gradient)) - 3.0) < 5 * error


@pytest.mark.parametrize("name", EVERY)
def test_noise_does_not_follow_the_global_seed(name):
    found = []
    for _ in range(2):
        keras.utils.set_random_seed(3)
        w = weight()
        pairs = made(name, noise=1.0)._compute_gradients(losses(w), [w])
        found.append(np.array(pairs[0][0]))
    assert not np.any(found[0] == found[1])


@pytest.mark.parametrize("name", EVERY)
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


def test_tree_noise_of_a_seed_can_be_repeated():
    found = []
    for _ in range(2):
        w = weight()
        optimizer = made("DPFTRLTreeAggregationOptimizer", 1, 1, noise_seed=5)
        pairs = optimizer._compute_gradients(losses(w), [w])
        found.append(np.array(pairs[0][0]))
    np.testing.assert_array_equal(*found)


def test_adaptive_clip_moves_in_a_compiled_step():
    import tensorflow as tf

    query = tf_privacy.QuantileAdaptiveClipSumQuery(
        **{**QUANTILE, "noise_multiplier": 0.0, "clipped_count_stddev": 0.0}
    )
    optimizer, w = tf_privacy.GenericDPSGDOptimizer(query), weight()

    @tf.function(autograph=False)
    def step():
        optimizer.apply_gradients(optimizer._compute_gradients(losses(w), [w]))

    clip, expected = 1.0, []
    for _ in range(3):
        below = np.mean(np.linalg.norm(ROWS, axis=1) <= clip)
        clip *= np.exp(-0.2 * (below - 0.5))
        expected.append(clip)
    found = []
    for _ in range(3):
        step()
        found.append(float(optimizer._global_state.sum_state.l2_norm_clip))
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_state_of_a_query_is_saved_with_the_optimizer(tmp_path):
    query = tf_privacy.QuantileAdaptiveClipSumQuery(**QUANTILE)
    optimizer, w = tf_privacy.GenericDPSGDOptimizer(query), weight()
    optimizer.apply_gradients(optimizer._compute_gradients(losses(w), [w]))
    store: dict = {}
    optimizer.save_own_variables(store)
    again = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    again.build([w])
    again.load_own_variables(store)
    old, new = optimizer._global_state, again._global_state
    assert float(old.sum_state.l2_norm_clip) != 1.0
    assert float(old.sum_state.l2_norm_clip) == float(
        new.sum_state.l2_norm_clip
    )


def test_tree_noise_is_that_of_the_sum_of_all_steps():
    size, steps = 4_000, 8
    w = keras.Variable(np.zeros(size, "float32"))
    zero = lambda: ops.zeros((1,)) * ops.sum(w.value)  # noqa: E731
    optimizer = made(
        "DPFTRLTreeAggregationOptimizer", 1.0, 1.0, var_list_or_model=[[size]]
    )
    total = np.zeros(size)
    for _ in range(steps):
        total += np.array(optimizer._compute_gradients(zero, [w])[0][0])
    # The eighth sum is one node of height 3, of variance 1 / (2 - 2^-3).
    assert np.std(total) == pytest.approx((2 - 2**-3) ** -0.5, rel=0.06)


@pytest.mark.parametrize("period", [1, 2, 3])
def test_restarts_keep_the_tree_small(period):
    optimizer = made(
        "DPFTRLTreeAggregationOptimizer", 1.0, 1.0, restart_period=period
    )
    w = weight()
    for _ in range(5):
        optimizer._compute_gradients(losses(w), [w])
    buffer = optimizer._global_state.inner_query_state.tree_state.level_buffer
    assert buffer[0].shape[0] <= period.bit_length() + 1


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
    optimizer, w = made("DPKerasSGDOptimizer", num_microbatches=5), weight()
    ((gradient, _),) = optimizer._compute_gradients(losses(w), [w])
    pairs = ROWS.reshape(5, 2, 3).mean(axis=1)
    np.testing.assert_allclose(gradient, clipped_mean(pairs, 1.0), atol=1e-5)


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
