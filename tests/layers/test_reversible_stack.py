"""Reversible chains against plain backpropagation through the same weights."""

from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers, ops

from tests.helpers import (
    BACKEND,
    arrays,
    copy_weights,
    flat,
    gradients,
    images,
    projection,
    randomize,
    reference_gradients,
)
from tfdeep import backend
from tfdeep.layers import ReversibleStack, RoutingCapsules
from tfdeep.layers.coupling import SLOPE, Momentum, checkpoints, growth
from tfdeep.layers.precise import Double, Pairs, Same, numbers
from tfdeep.layers.seed_state import Dropout

MODES = {"tensorflow": [False, True, "xla"], "jax": [True]}[BACKEND]
GOLDEN = np.load(Path(__file__).parent / "capsules" / "momentum.npz")


def dense(size=4):
    return layers.Dense(size, "tanh")


def conv(size=4):
    return layers.Conv2D(size, 3, padding="same", activation="tanh")


def capsule(size=4):
    return RoutingCapsules(5, size, kernel_initializer="he_normal")


SHAPES = {dense: (6, 4), conv: (3, 5, 5, 4), capsule: (3, 5, 4)}


def block(main, extra):
    parts = {
        "bn": lambda: [layers.BatchNormalization(), main()],
        "dropout": lambda: [main(), Dropout(0.3, seed=1)],
    }
    return keras.Sequential(parts[extra]())


def twins(blocks, shape, **kwargs):
    """A reversible stack and the plain one, with equal weights."""
    stacks = [
        ReversibleStack(blocks(), recompute=recompute, **kwargs)
        for recompute in (True, False)
    ]
    for stack in stacks:
        stack.build((None, *shape))
    randomize(stacks[0])
    copy_weights(*stacks)
    return stacks


def error(ours, theirs):
    """The largest relative error of a list of arrays."""
    return max(
        np.linalg.norm(a - b) / max(np.linalg.norm(b), 1e-30)
        for a, b in zip(ours, theirs, strict=True)
    )


def check(stacks, x, compiled, tolerance):
    for _ in range(2):  # The second step starts from the new state.
        ours, theirs = (
            flat(gradients(stack, x, compiled, training=True))
            for stack in stacks
        )
        assert error(ours, theirs) <= tolerance
    for a, b in zip(*(stack.weights for stack in stacks), strict=True):
        np.testing.assert_allclose(a, b, tolerance, tolerance)
    states = [
        [np.array(v) for v in stack.non_trainable_variables] for stack in stacks
    ]
    for a, b in zip(*states, strict=True):
        np.testing.assert_allclose(a, b, tolerance, tolerance)


@pytest.mark.parametrize("compiled", MODES)
@pytest.mark.parametrize("extra", ["bn", "dropout"])
@pytest.mark.parametrize("main", [dense, conv, capsule])
def test_gradients_in_double_precision(main, extra, compiled, float64):
    shape = SHAPES[main]
    stacks = twins(lambda: [block(main, extra) for _ in range(3)], shape[1:])
    assert stacks[0].alike
    # Keras' BatchNormalization on JAX computes in single precision.
    single = extra == "bn" and BACKEND == "jax"
    tolerance = 1e-6 if single else 1e-12
    check(stacks, images(*shape).astype("float64"), compiled, tolerance)


@pytest.mark.parametrize("compiled", MODES)
@pytest.mark.parametrize("every", [1, 2, 3, "auto"])
@pytest.mark.parametrize("coupling", ["momentum", "additive"])
def test_gradients_of_different_blocks(coupling, every, compiled, float64):
    def blocks():
        return [
            block(lambda: dense(2 if coupling == "additive" else 4), extra)
            for extra in ("bn", "dropout", "bn")
        ]

    settings = {"coupling": coupling, "checkpoint_every": every}
    stacks = twins(blocks, (4,), **settings)
    assert not stacks[0].alike
    check(stacks, images(6, 4).astype("float64"), compiled, 1e-12)


@pytest.mark.parametrize("compiled", MODES)
@pytest.mark.parametrize("every", [1, 2, 5])
@pytest.mark.parametrize("coupling", ["momentum", "additive"])
def test_gradients_across_checkpoints(coupling, every, compiled, float64):
    size = 2 if coupling == "additive" else 4
    stacks = twins(
        lambda: [block(lambda: dense(size), "dropout") for _ in range(5)],
        (4,),
        coupling=coupling,
        checkpoint_every=every,
    )
    check(stacks, images(6, 4).astype("float64"), compiled, 1e-12)


def tanh(x):
    """In double precision, which Keras' own on JAX is not."""
    return 1 - 2 / (ops.exp(2 * x) + 1)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("every", [None, 2, 6])
def test_golden_momentum_nets(gamma, every, float64):
    if gamma == 0 and every:
        every = None  # It cannot be undone.
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


def by_hand(blocks, x, coupling, gamma):
    """The chain as it is told."""
    if coupling == "momentum":
        v = 0.0
        for f in blocks:
            v = gamma * v + (1 - gamma) * f(x)
            x = x + v
        return x
    a, b = ops.split(x, 2, axis=-1)
    for number, f in enumerate(blocks):
        if number % 2:
            b = b + f(a)
        else:
            a = a + f(b)
    return ops.concatenate([a, b], axis=-1)


@pytest.mark.parametrize("count", [3, 4])
@pytest.mark.parametrize("coupling", ["momentum", "additive"])
def test_values_and_gradients_by_hand(coupling, count):
    size = 2 if coupling == "additive" else 4
    stack = ReversibleStack([dense(size) for _ in range(count)], coupling, 0.8)
    x = images(5, 4)
    y, dx, _ = gradients(stack, x, training=True)
    expected, (gradient,) = reference_gradients(
        lambda x: by_hand(stack.blocks, x, coupling, 0.8), x
    )
    np.testing.assert_allclose(y, expected, 1e-5, 1e-6)
    np.testing.assert_allclose(dx, gradient, 1e-4, 1e-5)
    np.testing.assert_allclose(stack(x), expected, 1e-5, 1e-6)


def straight(size=8):
    """With a kink, at which any difference in its input is one in its slope."""
    return layers.Dense(size, "relu")


def normed(size=4):
    """The branch of a pre-activation residual net."""
    return keras.Sequential(
        [
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.Conv2D(size, 3, padding="same"),
        ]
    )


@pytest.mark.parametrize("compiled", MODES[1:] or MODES)
@pytest.mark.parametrize(
    ("main", "gamma", "count"),
    [
        (lambda: dense(8), 0.5, 100),
        (lambda: dense(8), 0.9, 100),
        (straight, 0.9, 100),
        (normed, 0.9, 40),
    ],
    ids=["tanh 0.5", "tanh 0.9", "relu", "normed"],
)
def test_many_blocks_in_single_precision(main, gamma, count, compiled):
    def blocks():
        return [main() for _ in range(count)]

    shape = (16, 5, 5, 4) if main is normed else (16, 8)
    stacks = twins(blocks, shape[1:], gamma=gamma)
    rng = np.random.default_rng(0)
    for weight in stacks[0].trainable_variables:
        values = rng.normal(size=weight.shape)
        if len(weight.shape) > 1:
            weight.assign(values / np.sqrt(np.prod(weight.shape[:-1])))
    copy_weights(*stacks)
    # What runs from block to block is the same, to the last digit.
    stacks[1].kept = stacks[0].kept
    x = images(*shape)
    found = [gradients(each, x, compiled, training=True) for each in stacks]
    whole = [np.concatenate([g.ravel() for g in r[2]]) for r in found]
    difference = np.linalg.norm(whole[0] - whole[1])
    assert difference / np.linalg.norm(whole[1]) < 1e-5


def test_half_precision_blocks_see_what_they_saw():
    def blocks():
        return [
            layers.Dense(8, "tanh", dtype="mixed_bfloat16") for _ in range(60)
        ]

    stacks = twins(blocks, (8,))
    stacks[1].kept = stacks[0].kept
    x = images(16, 8)
    found = [gradients(each, x, True, training=True) for each in stacks]
    whole = [np.concatenate([g.ravel() for g in r[2]]) for r in found]
    difference = np.linalg.norm(whole[0] - whole[1])
    # The sums over the batch are rounded to eight digits.
    assert difference / np.linalg.norm(whole[1]) < 1e-2


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


def test_stream_stays_single_under_mixed_precision():
    seen = []

    class Look(layers.Layer):
        def call(self, x):
            seen.append(keras.backend.standardize_dtype(x.dtype))
            return x

    stack = ReversibleStack([Look(dtype="mixed_bfloat16")])
    x = ops.cast(images(2, 4), "bfloat16")
    coupling = stack.pairing(training=True)
    assert isinstance(coupling.kept, type(numbers("float32", wide=True)))
    pair = coupling.start(stack.stream(x))
    within = coupling.seen(*pair)
    assert keras.backend.standardize_dtype(within.dtype) == "float32"
    y = stack(x, training=True)
    assert set(seen) == {"bfloat16"}
    assert keras.backend.standardize_dtype(y.dtype) == "bfloat16"


def test_masks_reach_the_blocks():
    class Masked(layers.Layer):
        supports_masking = True

        def build(self, shape):
            self.scale = self.add_weight(shape=(), initializer="ones")

        def call(self, x, mask=None):
            if mask is None:
                return self.scale * x
            return self.scale * x * ops.cast(mask, x.dtype)[..., None]

    mask = np.array([[True, False, True]])
    stack = ReversibleStack([Masked(), Masked()], gamma=0.5)
    stack.build((1, 3, 4))
    x = images(1, 3, 4)
    y = np.array(stack(x, mask=ops.convert_to_tensor(mask), training=True))
    np.testing.assert_allclose(y[0, 1], x[0, 1])
    assert not np.allclose(y[0, 0], x[0, 0])


class TestRefused:
    def stack(self, **kwargs):
        return ReversibleStack([dense(), dense()], **kwargs)

    @pytest.mark.parametrize("gamma", [0, -0.1, 1.5, "0.9", True, np.nan])
    def test_gamma(self, gamma):
        with pytest.raises(ValueError, match="`gamma` came as"):
            self.stack(gamma=gamma)

    def test_gamma_of_zero_needs_plain_backpropagation(self):
        x = images(2, 4)
        stack = self.stack(gamma=0, recompute=False)
        y = np.array(stack(x))
        for part in stack.blocks:
            x = x + np.array(part(x))
        np.testing.assert_allclose(y, x, 1e-5, 1e-6)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"coupling": "affine"}, "coupling"),
            ({"checkpoint_every": 0}, "checkpoint_every"),
            ({"checkpoint_every": 1.5}, "checkpoint_every"),
            ({"recompute": "yes"}, "recompute"),
        ],
    )
    def test_arguments(self, arguments, message):
        with pytest.raises(ValueError, match=message):
            self.stack(**arguments)

    @pytest.mark.parametrize("blocks", [[], None, [3], dense()])
    def test_blocks(self, blocks):
        with pytest.raises(TypeError, match="`blocks` came as"):
            ReversibleStack(blocks)

    def test_the_same_block_twice(self):
        one = dense()
        with pytest.raises(ValueError, match="twice"):
            ReversibleStack([one, one])

    def test_a_block_that_changes_the_shape(self):
        with pytest.raises(ValueError, match="both must be kept"):
            ReversibleStack([dense(3)]).build((2, 4))

    @pytest.mark.parametrize("shape", [(2, 5), (2, None)])
    def test_halves_of_an_odd_number(self, shape):
        with pytest.raises(ValueError, match="even"):
            self.stack(coupling="additive").build(shape)

    def test_losses(self):
        blocks = [layers.Dense(4, activity_regularizer="l2") for _ in range(2)]
        for part in (blocks[:1], blocks):
            stack = ReversibleStack(part)
            with pytest.raises(ValueError, match="a loss that it adds"):
                stack(images(2, 4), training=True)
            blocks = [
                layers.Dense(4, activity_regularizer="l2") for _ in range(2)
            ]

    def test_integers(self):
        with pytest.raises(ValueError, match="tensor of int32"):
            self.stack()(np.ones((2, 4), "int32"))

    @pytest.mark.tensorflow
    @pytest.mark.parametrize("built", (True, False))
    def test_ragged(self, built):
        import tensorflow as tf

        stack = self.stack()
        if built:
            stack.build((None, 4))
        ragged = tf.ragged.constant([[1.0], [1.0, 2.0]])
        with pytest.raises(ValueError, match="ragged"):
            stack(ragged)

    def test_python_state(self):
        class Counts(layers.Layer):
            def __init__(self, **kwargs):
                super().__init__(**kwargs)
                self.calls = 0

            def build(self, shape):
                self.scale = self.add_weight(shape=())

            def call(self, x):
                self.calls += 1
                return self.scale * x

        with pytest.raises(ValueError, match="Python attribute"):
            ReversibleStack([Counts(), Counts()])(images(2, 4))

    def test_a_depth_at_which_gradients_are_wrong(self):
        blocks = [dense() for _ in range(80)]
        for every in (None, 51):
            with pytest.raises(ValueError, match="up to 50 blocks"):
                ReversibleStack(blocks, checkpoint_every=every)
        ReversibleStack(blocks, checkpoint_every=50)
        ReversibleStack(blocks, "additive", checkpoint_every=None)


def test_regularizers_of_the_blocks_count_once():
    blocks = [layers.Dense(4, kernel_regularizer="l2") for _ in range(3)]
    stack = ReversibleStack(blocks)
    projection(stack(images(2, 4), training=True))
    expected = sum(0.01 * np.sum(np.array(b.kernel) ** 2) for b in blocks)
    np.testing.assert_allclose(float(sum(stack.losses)), expected, 1e-5)


def test_frozen_blocks_stay():
    blocks = [dense() for _ in range(3)]
    blocks[1].trainable = False
    stack = ReversibleStack(blocks)
    stack.build((None, 4))
    assert not stack.alike
    *_, found = gradients(stack, images(2, 4), training=True)
    assert len(found) == 4
