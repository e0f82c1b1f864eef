"""Reversible chains against plain backpropagation through the same weights."""

import numpy as np
import pytest
from keras import layers, ops

from tests.helpers import (
    BACKEND,
    close,
    flat,
    gradients,
    images,
    kept_bytes,
    reference_gradients,
)
from tests.layers.chains import (
    SHAPES,
    block,
    capsule,
    check,
    conv,
    dense,
    twins,
)
from tfdeep.layers import ReversibleStack

every_coupling = pytest.mark.parametrize("coupling", ["momentum", "additive"])


def size_of(coupling):
    """What a block sees of four channels."""
    return 2 if coupling == "additive" else 4


@pytest.mark.parametrize("extra", ["bn", "dropout"])
@pytest.mark.parametrize("main", [dense, conv, capsule])
def test_gradients_of_each_kind_of_block(main, extra, float64):
    shape = SHAPES[main]
    stacks = twins(lambda: [block(main, extra) for _ in range(3)], shape[1:])
    # Keras' BatchNormalization on JAX computes in single precision.
    single = extra == "bn" and BACKEND == "jax"
    check(stacks, shape, 1e-6 if single else 1e-12)


@pytest.mark.parametrize("every", [1, 2, 5])
@every_coupling
def test_gradients_across_kept_pairs(coupling, every, float64):
    size = size_of(coupling)
    stacks = twins(
        lambda: [block(lambda: dense(size), "dropout") for _ in range(5)],
        (4,),
        coupling=coupling,
        checkpoint_every=every,
    )
    check(stacks, (6, 4))


def different(coupling, every="auto"):
    """Blocks that are traced one by one."""
    size = size_of(coupling)
    return twins(
        lambda: [
            block(lambda: dense(size), extra)
            for extra in ("bn", "dropout", "bn", "dropout")
        ],
        (4,),
        coupling=coupling,
        checkpoint_every=every,
    )


@pytest.mark.parametrize("every", [1, 2, "auto"])
@every_coupling
def test_gradients_of_different_blocks(coupling, every, float64):
    check(different(coupling, every), (6, 4))


@pytest.mark.slow
@pytest.mark.tensorflow  # On JAX all tests above are compiled.
@pytest.mark.parametrize(
    ("coupling", "compiled"), [("momentum", True), ("additive", "xla")]
)
def test_gradients_of_equal_blocks_compiled(coupling, compiled, float64):
    size = size_of(coupling)
    stacks = twins(
        lambda: [block(lambda: dense(size), "both") for _ in range(5)],
        (4,),
        coupling=coupling,
        checkpoint_every=2,
    )
    check(stacks, (6, 4), compiled=compiled)


@pytest.mark.slow
@pytest.mark.tensorflow
@pytest.mark.parametrize(
    ("coupling", "compiled"), [("additive", True), ("momentum", "xla")]
)
def test_gradients_of_different_blocks_compiled(coupling, compiled, float64):
    check(different(coupling, 2), (6, 4), compiled=compiled)


def by_hand(blocks, x, coupling, gamma=0.9, axis=-1):
    """The chain as it is told."""
    if coupling == "momentum":
        v = 0.0
        for f in blocks:
            v = gamma * v + (1 - gamma) * f(x)
            x = x + v
        return x
    a, b = ops.split(x, 2, axis=axis)
    for number, f in enumerate(blocks):
        if number % 2:
            b = b + f(a)
        else:
            a = a + f(b)
    return ops.concatenate([a, b], axis=axis)


@pytest.mark.parametrize("count", [3, 4])
@pytest.mark.parametrize(
    ("coupling", "size", "settings"),
    [
        ("momentum", 4, {"gamma": 0.8}),
        ("additive", 2, {}),
        ("additive", 4, {"axis": 1}),
    ],
    ids=["momentum", "additive", "axis"],
)
def test_values_and_gradients_by_hand(coupling, size, settings, count):
    blocks = [dense(size) for _ in range(count)]
    stack = ReversibleStack(blocks, coupling, **settings)
    x = images(5, 2, 4)
    y, dx, _ = gradients(stack, x, training=True)
    expected, (gradient,) = reference_gradients(
        lambda x: by_hand(stack.blocks, x, coupling, **settings), x
    )
    np.testing.assert_allclose(y, expected, 1e-5, 1e-6)
    np.testing.assert_allclose(dx, gradient, 1e-4, 1e-5)
    np.testing.assert_allclose(stack(x), expected, 1e-5, 1e-6)


def test_gamma_of_zero_is_the_plain_residual_net():
    x = images(2, 4)
    blocks = [dense(), dense()]
    y = np.array(ReversibleStack(blocks, gamma=0, recompute=False)(x))
    for part in blocks:
        x = x + np.array(part(x))
    np.testing.assert_allclose(y, x, 1e-5, 1e-6)


def test_memory_of_different_blocks_does_not_grow_with_their_number():
    x = images(7, 5, 5, 4)

    def kept(count, recompute):
        blocks = [
            layers.Conv2D(4, 3, padding="same", activation=activation)
            for activation in ["tanh", "sigmoid"] * (count // 2)
        ]
        stack = ReversibleStack(blocks, recompute=recompute)
        stack.build(x.shape)
        return kept_bytes(stack, x)

    assert 0 < kept(8, True) == kept(2, True)
    assert kept(8, False) > 3 * kept(8, True)


@pytest.mark.parametrize("count", [1, 3])
def test_masks_reach_the_blocks(count):
    """In the backward pass too; one block by itself is no loop."""

    class Masked(layers.Layer):
        supports_masking = True

        def build(self, shape):
            self.scale = self.add_weight(shape=(), initializer="ones")

        def call(self, x, mask=None):
            if mask is None:
                return self.scale * x
            return self.scale * x * ops.cast(mask, x.dtype)[..., None]

    stacks = twins(lambda: [Masked() for _ in range(count)], (3, 4), gamma=0.5)
    x = images(1, 3, 4)
    mask = ops.convert_to_tensor([[True, False, True]])
    ours, plain = (
        gradients(stack, x, mask=mask, training=True) for stack in stacks
    )
    np.testing.assert_allclose(ours[0][0, 1], x[0, 1])
    assert not np.allclose(ours[0][0, 0], x[0, 0])
    close(flat(ours), flat(plain))


def test_regularizers_of_the_blocks_count_once():
    blocks = [layers.Dense(4, kernel_regularizer="l2") for _ in range(3)]
    stack = ReversibleStack(blocks)
    stack(images(2, 4), training=True)
    expected = sum(0.01 * np.sum(np.array(b.kernel) ** 2) for b in blocks)
    np.testing.assert_allclose(float(sum(stack.losses)), expected, 1e-5)


def test_frozen_blocks_stay():
    blocks = [dense() for _ in range(3)]
    blocks[1].trainable = False
    stack = ReversibleStack(blocks)
    x = images(2, 4)
    *_, found = gradients(stack, x, training=True)
    assert len(found) == 4
    blocks[1].trainable = True
    *_, expected = gradients(stack, x, training=True)
    close(found, expected[:2] + expected[4:])
