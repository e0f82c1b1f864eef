"""Stacked layers in a loop, beside the same layers in a row."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from tests.helpers import (
    arrays,
    close,
    flat,
    gradients,
    images,
    randomize,
)
from tfdeep import backend
from tfdeep.layers import (
    BasicBlock,
    Repeat,
    WideBlock,
)
from tfdeep.layers.copies import copies

MODES = [False, True]


def noisy(units=4):
    return keras.Sequential(
        [
            layers.Dense(units, "tanh"),
            layers.BatchNormalization(momentum=0.6),
            layers.Dropout(0.4, seed=3),
        ]
    )


class Residual(layers.Layer):
    """A layer of a user's own, with layers and a random stream inside."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.norm = layers.BatchNormalization()
        self.dense = layers.Dense(4, "relu")
        self.noise = layers.GaussianNoise(0.1, seed=5)

    def build(self, input_shape):
        self.norm.build(input_shape)
        self.dense.build(input_shape)

    def call(self, inputs, training=None):
        x = self.norm(inputs, training=training)
        return inputs + self.noise(self.dense(x), training=training)

    def compute_output_shape(self, input_shape):
        return input_shape


KINDS = {
    "dense": (lambda: layers.Dense(4, "tanh"), (4,)),
    "noisy": (noisy, (4,)),
    "nested": (lambda: keras.Sequential([noisy(), noisy()]), (4,)),
    "own": (Residual, (4,)),
    "wide": (lambda: WideBlock(4, rate=0.3, seed=1), (5, 5, 4)),
    "group": (lambda: BasicBlock(4, norm="group", shortcut="C"), (5, 5, 4)),
    "stateless": (layers.ReLU, (4,)),
    "in itself": (lambda: Repeat(noisy(), 2), (4,)),
}


def pair(kind, count=3, **settings):
    """A `Repeat` with random weights, and its copies in a row."""
    make, shape = KINDS[kind]
    ours = Repeat(make(), count, **settings)
    ours.build((None, *shape))
    randomize(ours)
    row = keras.Sequential(copies(ours))
    row.build((None, *shape))
    return ours, row, images(6, *shape)


def stacked_like(ours, per_copy):
    """Values of the copies, in their order, as the stacked ones."""
    size = len(per_copy) // ours.num_repeats
    rows = [per_copy[i : i + size] for i in range(0, len(per_copy), size)]
    return [np.stack(column) for column in zip(*rows, strict=True)]


def near(ours, theirs, tolerance=2e-6):
    """Equal within rounding, as a part of the largest value."""
    for a, b in zip(ours, theirs, strict=True):
        bound = tolerance * max(1.0, np.abs(b).max())
        np.testing.assert_allclose(a, b, rtol=0, atol=bound)


def state_of(ours):
    """The state of the copies in the order in which a copy has it."""
    return arrays(v for v in ours.template.stacked if not v.trainable)


def compare(ours, row, x, compiled, training=True):
    """Outputs, gradients and the new state are those of the row."""
    y, dx, dw = gradients(ours, x, compiled, training=training)
    expected = gradients(row, x, compiled, training=training)
    near([y, dx], expected[:2])
    if dw:
        near(dw, stacked_like(ours, expected[2]), 1e-5)
    state = [v for part in row.layers for v in part.non_trainable_variables]
    if state:
        near(state_of(ours), stacked_like(ours, arrays(state)))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("compiled", MODES)
def test_equals_the_layers_in_a_row(kind, compiled):
    ours, row, x = pair(kind)
    # Twice: the second step goes on from the state of the first.
    compare(ours, row, x, compiled)
    compare(ours, row, x, compiled)
    compare(ours, row, x, compiled, training=False)


@pytest.mark.parametrize("recompute", [True, "sqrt"])
@pytest.mark.parametrize("kind", ["noisy", "wide"])
@pytest.mark.parametrize("compiled", MODES)
def test_recomputation_changes_nothing(kind, recompute, compiled):
    ours, row, x = pair(kind, 5, recompute=recompute)
    compare(ours, row, x, compiled)


@pytest.mark.tensorflow
@pytest.mark.parametrize("recompute", [False, True, "sqrt"])
def test_compiled_by_xla(recompute):
    import tensorflow as tf

    # Dropout draws other numbers under XLA.
    ours = Repeat(Residual(), 3, recompute=recompute)
    ours.build((None, 4))
    ours.template.layer.noise.stddev = 0.0
    randomize(ours)

    def loss_and_gradients(x):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(tf.square(ours(x, training=True)))
        weights = [v.value for v in ours.trainable_variables]
        return loss, tape.gradient(loss, weights)

    x = ops.convert_to_tensor(images(6, 4))
    start = arrays(ours.variables)
    results = []
    for jit in (False, True):
        for variable, value in zip(ours.variables, start, strict=True):
            variable.assign(value)
        step = tf.function(loss_and_gradients, jit_compile=jit)
        results.append(arrays([*tf.nest.flatten(step(x)), *ours.variables]))
    close(*results, 1e-4, 1e-5)


@pytest.mark.parametrize("kind", ["dense", "group"])
@pytest.mark.parametrize("recompute", [False, True])
def test_gradients_of_gradients(kind, recompute):
    ours, row, x = pair(kind, recompute=recompute)

    def curvature(layer):
        trainable, state = backend.read_variables(layer)

        def norm(primals, _):
            def loss(inner):
                y, _, _ = backend.stateless_call(
                    layer, inner, state, x, training=True
                )
                return ops.sum(ops.sin(y))

            grads = backend.value_and_gradients(loss, primals)[1]
            return sum(ops.sum(ops.square(g)) for g in grads), ()

        run = backend.compiled_pullback(norm)
        value, _, pullback = run(trainable, ())
        return arrays([value]), arrays(pullback())

    value, grads = curvature(ours)
    expected_value, expected = curvature(row)
    close(value, expected_value, 1e-4)
    close(grads, stacked_like(ours, expected), 1e-3, 1e-3)


def test_one_repeat_begins_as_the_plain_layer():
    # Both draw their seeds from Keras' stream, which starts anew.
    def plain():
        keras.utils.set_random_seed(1)
        return WideBlock(4, rate=0.3, seed=1)

    ours, layer, x = Repeat(plain(), 1), plain(), images(6, 5, 5, 4)
    close(
        [y[0] for y in flat(gradients(ours, x, training=True))[2:]],
        flat(gradients(layer, x, training=True))[2:],
    )
    close(arrays([ours(x)]), arrays([layer(x)]))


class TestBeginnings:
    def test_each_copy_draws_from_the_fans_of_one(self):
        layer = Repeat(layers.Dense(200, kernel_initializer="he_normal"), 6)
        layer.build((None, 200))
        kernel, bias = arrays(layer.weights)
        assert kernel.shape == (6, 200, 200) and not np.any(bias)
        deviations = kernel.std((1, 2))
        np.testing.assert_allclose(deviations, (2 / 200) ** 0.5, rtol=0.02)
        across = np.corrcoef(kernel.reshape(6, -1))
        assert np.abs(across - np.eye(6)).max() < 0.03

    def test_masks_differ_from_copy_to_copy(self):
        layer = Repeat(layers.Dropout(0.5, seed=0), 8)
        x = np.ones((1, 64), "float32")
        y = np.array(layer(x, training=True))
        # Equal masks would leave half of the values.
        assert np.sum(y != 0) < 8
        states = arrays(layer.variables)[0]
        assert states[0, 0] == 0 and len(set(states[:, 0].tolist())) == 8
        assert states[:, 1].tolist() == [1] * 8

    def test_equal_seeds_give_equal_layers(self):
        one, other = (
            Repeat(WideBlock(4, rate=0.3, seed=seed), 2) for seed in (1, 1)
        )
        for layer in (one, other):
            layer.build((None, 5, 5, 4))
        for a, b in zip(
            arrays(one.variables), arrays(other.variables), strict=True
        ):
            np.testing.assert_array_equal(a, b)


class TestWeights:
    def test_the_template_does_not_count(self):
        layer = Repeat(layers.Dense(4), 5)
        layer.build((None, 4))
        assert layer.count_params() == 5 * 20
        assert len(layer.variables) == 2
        assert [w.name for w in layer.weights] == ["kernel", "bias"]

    def test_penalties_add_up(self):
        for penalty in (
            keras.regularizers.L2(0.1),
            keras.regularizers.OrthogonalRegularizer(0.1),
        ):
            layer = Repeat(layers.Dense(4, kernel_regularizer=penalty), 3)
            layer.build((None, 4))
            expected = sum(
                float(penalty(ops.convert_to_tensor(kernel)))
                for kernel in arrays(layer.weights)[0]
            )
            np.testing.assert_allclose(
                float(sum(layer.losses)), expected, rtol=1e-5
            )

    @pytest.mark.parametrize(
        "constraint",
        [keras.constraints.MaxNorm(0.5, axis=0), keras.constraints.NonNeg()],
    )
    def test_constraints_hold_for_each_copy(self, constraint):
        layer = Repeat(layers.Dense(4, kernel_constraint=constraint), 3)
        layer.build((None, 4))
        kernel = layer.weights[0]
        ours = arrays([kernel.constraint(kernel.value)])[0]
        for copy, value in enumerate(arrays([kernel])[0]):
            (expected,) = arrays([constraint(ops.convert_to_tensor(value))])
            np.testing.assert_allclose(ours[copy], expected, rtol=1e-5)

    def test_weight_decay_can_leave_biases_out(self):
        layer = Repeat(layers.Dense(4, bias_initializer="ones"), 3)
        model = keras.Sequential([keras.Input((4,)), layer])
        optimizer = keras.optimizers.SGD(0.1, weight_decay=0.5)
        optimizer.exclude_from_weight_decay(var_names=["bias"])
        model.compile(optimizer, lambda y, p: 0.0 * ops.mean(p))
        before = arrays(layer.weights)
        model.fit(images(2, 4), images(2, 4), verbose=0)
        kernel, bias = arrays(layer.weights)
        np.testing.assert_allclose(kernel, before[0] * 0.95, rtol=1e-5)
        np.testing.assert_array_equal(bias, before[1])


class TestFrozen:
    @pytest.mark.parametrize("built", [False, True])
    def test_batch_statistics_stand_still(self, built):
        layer = Repeat(noisy(), 2)
        if built:
            layer.build((None, 4))
        layer.trainable = False
        before = None
        x = images(6, 4)
        layer.build((None, 4))
        before = arrays(layer.weights)
        layer(x, training=True)
        assert layer.trainable_variables == []
        close(arrays(layer.weights), before, 0, 0)
        layer.trainable = True
        layer(x, training=True)
        assert len(layer.trainable_variables) == 4
        assert any(
            np.any(a != b)
            for a, b in zip(arrays(layer.weights), before, strict=True)
        )

    def test_a_part_that_was_frozen_before_stays_so(self):
        inner = keras.Sequential(
            [layers.Dense(4, trainable=False), layers.Dense(4)]
        )
        layer = Repeat(inner, 2)
        layer.build((None, 4))
        assert len(layer.trainable_variables) == 2
        assert len(layer.non_trainable_variables) == 2


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_is_that_of_the_copies(policy):
    keras.config.set_dtype_policy(policy)
    ours, row, x = pair("noisy")
    assert {w.dtype for w in ours.weights} == {"float32"}
    assert ours.compute_dtype == policy.removeprefix("mixed_")
    y, expected = ours(x, training=True), row(x, training=True)
    assert keras.backend.standardize_dtype(y.dtype) == ours.compute_dtype
    close(
        arrays([ops.cast(y, "float32")]),
        arrays([ops.cast(expected, "float32")]),
        1e-2,
        1e-2,
    )
    # The statistics are kept in full precision.
    state = [v for part in row.layers for v in part.non_trainable_variables]
    close(state_of(ours), stacked_like(ours, arrays(state)), 1e-2, 1e-2)
    values = state_of(ours)[1]
    assert np.any(values != values.astype("float16").astype("float32"))


def test_saved_and_resumed(tmp_path):
    x, y = images(6, 4), images(6, 4, seed=1)
    model = keras.Sequential([keras.Input((4,)), Repeat(noisy(), 3)])
    model.compile("sgd", "mse")
    model.fit(x, y, verbose=0)
    model.save(tmp_path / "model.keras")
    resumed = keras.models.load_model(tmp_path / "model.keras")
    close(arrays(resumed.variables), arrays(model.variables), 0, 0)
    for each in (model, resumed):
        each.fit(x, y, verbose=0, shuffle=False)
    close(arrays(resumed.variables), arrays(model.variables))


def test_the_given_layer_stays_as_it_is():
    inner = layers.Dense(4)
    layer = Repeat(inner, 2)
    layer(images(2, 4))
    assert not inner.built and inner.weights == []
    # A layer that has weights already describes the copies all the same.
    inner.build((None, 4))
    before = arrays(inner.weights)
    Repeat(inner, 2)(images(2, 4))
    close(arrays(inner.weights), before, 0, 0)


class Counting(layers.Layer):
    """Keeps state in Python."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.calls = 0

    def call(self, inputs):
        self.calls += 1
        return inputs * 2.0


class Measuring(layers.Layer):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.mean = keras.metrics.Mean()

    def call(self, inputs):
        return inputs * 1.0


def losing():
    return layers.Dense(4, activity_regularizer="l2")


def splitting():
    inputs = keras.Input((4,))
    return keras.Model(inputs, [inputs, inputs + 1.0])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: layers.Dense(5), r"output of shape \(2, 5\)"),
        (lambda: layers.Activation("relu", dtype="float64"), "dtype float64"),
        (Measuring, "metrics"),
        (splitting, "several outputs"),
        (losing, "a loss that it adds in each call"),
        (Counting, "`calls` that its call changes"),
    ],
)
def test_a_layer_that_cannot_be_repeated_is_refused(make, message):
    layer = Repeat(make(), 2, dtype="float32")
    with pytest.raises(ValueError, match=message):
        layer(images(2, 4))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_repeats": 0}, "`num_repeats` came as 0"),
        ({"num_repeats": -2}, "`num_repeats` came as -2"),
        ({"num_repeats": 2.5}, "`num_repeats` came as 2.5"),
        ({"num_repeats": True}, "`num_repeats` came as True"),
        ({"num_repeats": "2"}, "`num_repeats` came as '2'"),
        ({"num_repeats": float("nan")}, "`num_repeats` came as nan"),
        ({"recompute": "log"}, "`recompute` came as 'log'"),
        ({"survival_probabilities": [0.5]}, "came with 1 values"),
        ({"survival_probabilities": []}, "came with 0 values"),
        ({"survival_probabilities": [0.5, 1.5]}, "came as 1.5"),
        ({"survival_probabilities": [0.5, float("nan")]}, "came as nan"),
        ({"seed": -1}, "`seed` came as -1"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Repeat(layers.Dense(4), **{"num_repeats": 2, **arguments})


def test_what_is_no_layer_is_refused():
    with pytest.raises(TypeError, match="`layer` came as function"):
        Repeat(noisy, 2)
