"""The couplings against the authors' figures, and how their errors grow."""

from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers, ops

from tests.helpers import arrays
from tfdeep import backend
from tfdeep.layers import ReversibleStack
from tfdeep.layers.coupling import SLOPE, Momentum, checkpoints, growth
from tfdeep.layers.precise import Double, Pairs, Same

GOLDEN = np.load(Path(__file__).parent / "capsules" / "momentum.npz")


def tanh(x):
    """In double precision, which Keras' own on JAX is not."""
    return 1 - 2 / (ops.exp(2 * x) + 1)


# Without `every`, by plain backpropagation: the only way at gamma = 0.
@pytest.mark.parametrize(
    ("gamma", "every"),
    [
        (0.0, None),
        (0.5, None),
        (0.5, 2),
        (0.9, None),
        (0.9, 2),
        (0.9, 6),
        (1.0, 6),
    ],
)
def test_golden_momentum_nets(gamma, every, float64):
    blocks = [
        keras.Sequential([layers.Dense(8, tanh), layers.Dense(5)])
        for _ in range(6)
    ]
    stack = ReversibleStack(blocks, "momentum", gamma, every, every is not None)
    x, g = GOLDEN["x"], GOLDEN["g"]
    stack.build(x.shape)
    for index, part in enumerate(blocks):
        names = [f"{name}_{index}" for name in ("W1", "b1", "W2", "b2")]
        part.set_weights([GOLDEN[name] for name in names])
    weights = [v.value for v in stack.trainable_variables]

    def net(x, *weights):
        _, state = backend.read_variables(stack)
        return backend.stateless_call(
            stack, list(weights), state, x, training=True
        )[0]

    primals = [ops.convert_to_tensor(v) for v in (x, *weights)]
    y, grads = backend.value_and_vjp(net, primals, ops.convert_to_tensor(g))
    dx, first, *_, last = arrays(grads)
    name = f"g{gamma}"
    for actual, key in (
        (y, "y"),
        (dx, "gx"),
        (first, "gW1_0"),
        (last, "gb2_5"),
    ):
        np.testing.assert_allclose(actual, GOLDEN[f"{name}_{key}"], 0, 1e-10)


def test_every_state_of_the_golden_nets_is_undone():
    for gamma in (0.5, 0.9, 1.0):
        coupling = Momentum(gamma, Same("float64"))
        xs, vs = (GOLDEN[f"g{gamma}_{key}"] for key in ("xs", "vs"))
        for i in range(6):
            y = (vs[i + 1] - gamma * vs[i]) / max(1 - gamma, 1e-30)
            after = coupling.forward(xs[i], vs[i], y)
            np.testing.assert_allclose(after, (xs[i + 1], vs[i + 1]), 0, 1e-12)
            source = coupling.source(*after)
            before = coupling.backward(*after, source, y)
            np.testing.assert_allclose(before, (xs[i], vs[i]), 0, 1e-12)


def test_auto_checkpoints_follow_gamma_dtype_and_depth():
    def auto(gamma, kept, compute="float32", count=1000):
        return checkpoints("auto", gamma, kept, compute, count)

    double, pairs, same = Double(), Pairs(), Same("float64")
    assert auto(0.9, double) == 42 and auto(0.9, pairs) == 38
    assert auto(0.5, double) == 6 and auto(0.001, double) == 1
    assert auto(1.0, double) == 1000
    assert auto(0.9, double, count=20) == 20
    assert auto(0.9, double, count=100) == 34
    assert auto(0.9, same, "float64") == 50 and auto(0.5, same, "float64") == 14
    assert auto(0.9, double, "bfloat16") == 10
    # Blocks that are computed alike, to the last digit.
    assert auto(0.9, double, None) == 50 and auto(0.5, double, None) == 14


def test_a_depth_at_which_gradients_are_wrong_is_refused():
    def blocks():
        return [layers.Dense(4, "tanh") for _ in range(80)]

    for every in (None, 51):
        with pytest.raises(ValueError, match="up to 50 blocks"):
            ReversibleStack(blocks(), checkpoint_every=every)
    ReversibleStack(blocks(), checkpoint_every=50)
    ReversibleStack(blocks(), "additive", checkpoint_every=None)


def test_one_block_in_half_precision_is_undone_for_ten_blocks_at_most():
    blocks = [layers.Dense(4) for _ in range(19)]
    blocks.append(layers.Dense(4, dtype="mixed_bfloat16"))
    with pytest.raises(ValueError, match="up to 10 blocks"):
        ReversibleStack(blocks, checkpoint_every=11)
    ReversibleStack(blocks, checkpoint_every=10)


def test_growth_is_that_of_an_error_in_a_straight_block():
    coupling, y = Momentum(0.9, Same("float64")), 0.0
    x, v = np.float64(1e-3), np.float64(-1e-3)
    sizes = []
    for _ in range(40):
        x = coupling.source(x, v)
        y = SLOPE * x
        x, v = coupling.backward(x, v, x, y)
        sizes.append(abs(x))
    np.testing.assert_allclose(sizes[-1] / sizes[-2], growth(0.9), 1e-6)
