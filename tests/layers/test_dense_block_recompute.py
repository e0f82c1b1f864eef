"""`recompute=True` changes the memory that is kept, and nothing else."""

import keras
import numpy as np
import pytest

from tests.helpers import (
    arrays,
    close,
    copy_weights,
    flat,
    gradients,
    images,
    kept_bytes,
    randomize,
    training_step,
)
from tfdeep.layers import DenseBlock, StochasticDepth

SHAPE = (4, 6, 5, 6)


def pair(*args, shape=SHAPE, **kwargs):
    """A plain block and a recomputing one with the same weights."""
    blocks = []
    for recompute in (False, True):
        block = DenseBlock(*args, recompute=recompute, **kwargs)
        block.build(shape)
        blocks.append(block)
    randomize(blocks[0])
    copy_weights(*blocks)
    return blocks


DROPS = {"rate": 0.3, "seed": 1}


@pytest.mark.parametrize(
    ("options", "compiled"),
    [
        ({}, None),
        ({"bottleneck": False}, None),
        ({"norm": "group"}, None),
        (DROPS, False),
        (DROPS, True),
    ],
)
def test_outputs_gradients_and_state_are_equal(options, compiled):
    """Three steps: the same dropout masks, statistics updated once a step."""
    plain, recomputed = pair(3, 4, **options)
    steps = [
        training_step(block, compiled, training=True)
        for block in (plain, recomputed)
    ]
    for seed in range(3):
        x = images(*SHAPE, seed=seed)
        expected, result = (flat(step(x)) for step in steps)
        for theirs, ours in zip(expected, result, strict=True):
            scale = np.max(np.abs(theirs)) + 1e-6
            assert np.max(np.abs(ours - theirs)) <= 1e-5 * scale
        close(
            arrays(recomputed.non_trainable_variables),
            arrays(plain.non_trainable_variables),
        )


def test_moving_statistics_move_by_one_step():
    block = pair(1, 2, False)[1]
    mean = block.non_trainable_variables[0]
    mean.assign(np.zeros(6))
    x = images(*SHAPE)
    gradients(block, x, training=True)
    expected = 0.1 * x.mean((0, 1, 2))
    close([arrays([mean])[0]], [expected], rtol=1e-4)


@pytest.mark.parametrize("recompute", [False, True])
def test_dropout_masks_change_from_step_to_step(recompute):
    block = pair(1, 4, rate=0.5, seed=0)[recompute]
    x = images(*SHAPE)
    step = training_step(block, training=True)
    assert np.any(step(x)[0] != step(x)[0])


def test_inference_is_exactly_the_plain_block():
    plain, recomputed = pair(3, 4)
    x = images(*SHAPE)
    close(
        flat(gradients(recomputed, x, training=False)),
        flat(gradients(plain, x, training=False)),
        rtol=0,
        atol=0,
    )


class TestMemory:
    """Bytes of feature maps that wait for the backward pass."""

    shape = (7, 12, 12, 4)

    def kept(self, num_layers, bottleneck=True):
        plain, recomputed = pair(num_layers, 4, bottleneck, shape=self.shape)
        x = images(*self.shape)
        return kept_bytes(plain, x), kept_bytes(recomputed, x)

    def test_only_inputs_and_outputs_are_kept(self):
        plain, recomputed = self.kept(4)
        batch, height, width, channels = self.shape
        values = batch * height * width * (channels + channels + 4 * 4)
        assert recomputed <= 4 * values
        assert recomputed < 0.25 * plain

    def test_it_grows_linearly_where_the_plain_block_grows_squared(self):
        few, many = self.kept(2, False), self.kept(6, False)
        assert many[0] > 4 * few[0]
        assert many[1] < 3 * few[1]


@pytest.mark.jax
def test_the_compiler_does_not_merge_the_recomputation():
    """XLA on a CPU would: then nothing is computed again, or saved."""
    import jax

    flops, memory = [], []
    for block in pair(6, 8, shape=(8, 16, 16, 8)):
        state = [v.value for v in block.non_trainable_variables]

        def loss(weights, x, block=block, state=state):
            y, _ = block.stateless_call(weights, state, x, training=True)
            return (y**2).sum()

        weights = [v.value for v in block.trainable_variables]
        program = jax.jit(jax.grad(loss, (0, 1)))
        program = program.lower(weights, images(8, 16, 16, 8)).compile()
        flops.append(program.cost_analysis()["flops"])
        memory.append(program.memory_analysis().temp_size_in_bytes)
    assert flops[1] > 1.25 * flops[0]
    assert memory[1] < 0.7 * memory[0]


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_half_precision(policy):
    plain, recomputed = pair(2, 4, dtype=policy)
    x = images(*SHAPE)
    expected = flat(gradients(plain, x, training=True))
    result = flat(gradients(recomputed, x, training=True))
    for theirs, ours in zip(expected, result, strict=True):
        theirs, ours = theirs.astype("float32"), ours.astype("float32")
        scale = np.max(np.abs(theirs)) + 1e-6
        assert np.max(np.abs(ours - theirs)) <= 0.03 * scale
    half = policy.removeprefix("mixed_")
    y = recomputed(x, training=True)
    assert keras.backend.standardize_dtype(y.dtype) == half


def test_a_recomputing_block_can_be_skipped():
    """Inside StochasticDepth: kept, it is the plain block; else zero."""
    plain, recomputed = pair(2, 3)
    layer = StochasticDepth(recomputed, 0.5, seed=0)
    layer.build(SHAPE)
    x = images(*SHAPE)
    expected = flat(gradients(plain, x, training=True))
    step = training_step(layer, training=True)
    seen = set()
    for _ in range(8):
        result = flat(step(x))
        kept = bool(np.any(result[0]))
        seen.add(kept)
        for theirs, ours in zip(expected, result, strict=True):
            scale = np.max(np.abs(theirs)) + 1e-6
            assert np.max(np.abs(ours - kept * theirs)) <= 1e-4 * scale
    assert seen == {False, True}
