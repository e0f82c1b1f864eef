"""Units that are ReLU, then linear: slopes, penalty, what is frozen."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from tests.helpers import (
    BACKEND,
    arrays,
    compiled,
    gradients,
    images,
    reference_gradients,
)
from tfdeep.graph import Edited, rewrite
from tfdeep.layers import Repeat, SparsePReLU
from tfdeep.layers.sparse_prelu import linearity_penalty, sloped

EDGES = np.array([[-2.0, -1e-30, -0.0, 0.0, 1e-30, 3.0]], "float32")
MODES = ["eager", "graph", "xla"] if BACKEND == "tensorflow" else ["graph"]


def built(shape=(None, 3), slopes=None, **arguments):
    layer = SparsePReLU(**arguments)
    layer.build(shape)
    if slopes is not None:
        layer.slopes.assign(np.reshape(slopes, layer.slopes.shape))
    return layer


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("mode", MODES)
def test_slopes_of_0_are_relu(mode, frozen):
    layer = built((None, 6))
    if frozen:
        layer.freeze()
    np.testing.assert_array_equal(
        compiled(layer, mode)(EDGES)[0], np.array(ops.relu(EDGES))
    )
    _, dx, _ = gradients(layer, EDGES)
    _, (expected,) = reference_gradients(ops.relu, EDGES)
    np.testing.assert_array_equal(dx, expected)


def test_a_leaky_start_is_leaky():
    layer = built((None, 6), negative_slope=0.3)
    expected = ops.leaky_relu(EDGES, 0.3)
    np.testing.assert_allclose(arrays([layer(EDGES)])[0], arrays([expected])[0])
    layer.freeze()
    np.testing.assert_allclose(arrays([layer(EDGES)])[0], arrays([expected])[0])


@pytest.mark.parametrize("slope", [0.0, 0.4, 1.0])
def test_the_gradient_at_0_is_the_slope_on_each_backend(slope):
    x = np.zeros((1, 3), "float32")
    layer = built(slopes=[slope] * 3)
    y, dx, (da,) = gradients(layer, x)
    np.testing.assert_allclose(dx, slope * np.cos(np.arange(3))[None], 1e-6)
    assert not da.any() and not y.any()


def test_the_penalty_is_the_formula_and_has_finite_gradients():
    slopes = np.array([-0.5, 0.0, 0.5, 0.989, 0.991, 1.0, 1.4], "float32")
    value, (found,) = reference_gradients(
        lambda a: linearity_penalty(a, ops.ones_like(a) > 0, 0.5, 0.01), slopes
    )
    near = 1 - slopes[:4]
    assert float(value) == pytest.approx(np.sqrt(near).sum(), rel=1e-6)
    np.testing.assert_allclose(found[:4], -0.5 / np.sqrt(near), 1e-5)
    np.testing.assert_array_equal(found[4:], 0.0)


def test_it_is_a_regularizer_of_the_slopes():
    layer = built(slopes=[0.0, 0.75, 1.0], strength=0.1)
    (loss,) = layer.losses
    assert float(loss) == pytest.approx(0.1 * (1.0 + 0.5))
    layer.strength_now.assign(0.2)
    assert float(layer.losses[0]) == pytest.approx(0.2 * 1.5)
    layer.freeze()
    assert float(layer.losses[0]) == 0.0


def test_a_slope_that_crosses_1_is_linear_before_anything_is_written():
    layer = built(slopes=[0.5, 0.995, 1.7], strength=0.1)
    x = -np.ones((2, 3), "float32")
    y, _, (da,) = gradients(layer, x)
    np.testing.assert_array_equal(y, [[-0.5, -1.0, -1.0]] * 2)
    assert layer.active.tolist() == [True, False, False]
    assert da[0] != 0 and not da[1:].any()
    layer.freeze()
    layer.release()
    layer.slopes.assign([0.5, 0.2, 0.2])  # What momentum might do.
    assert layer.active_units == 1
    np.testing.assert_array_equal(arrays([layer(x)])[0], y)


@pytest.mark.parametrize("nesterov", [False, True])
def test_momentum_moves_no_frozen_unit(nesterov):
    model = keras.Sequential([keras.Input((3,)), SparsePReLU(0.5)])
    optimizer = keras.optimizers.SGD(0.5, 0.9, nesterov=nesterov)
    model.compile(optimizer, "mse", jit_compile=BACKEND == "jax")
    x = -np.abs(images(8, 3)) - 0.1
    y = x * np.array([1.0, 0.0, 0.6], "float32")
    (layer,) = model.layers
    model.fit(x, y, epochs=4, verbose=0)
    layer.freeze()
    before, expected = layer.active_units, model.predict(x, verbose=0)
    assert before < 3
    model.fit(x, y, epochs=3, verbose=0)
    np.testing.assert_array_equal(model.predict(x, verbose=0), expected)
    assert layer.active_units == before


def test_release_goes_on_from_what_was_kept():
    layer = built(slopes=[0.2, 0.999, 0.4])
    layer.freeze()
    layer.slopes.assign([5.0, 5.0, 5.0])
    layer.release()
    np.testing.assert_allclose(arrays([layer.slopes])[0], [0.2, 1.0, 0.4])
    assert layer.active.tolist() == [True, False, True]
    layer.slopes.assign([0.3, 0.3, 0.3])
    found = arrays([layer.slopes_in_force()])[0]
    np.testing.assert_allclose(found, [0.3, 1.0, 0.3])


@pytest.mark.parametrize(
    ("shared", "shape"),
    [("spatial", (1, 1, 4)), ([2, 3], (2, 1, 1)), ([], (2, 3, 4)),
     (None, (2, 3, 4)), ([1, 2, 3], (1, 1, 1)), (1, (1, 3, 4))],
)  # fmt: skip
def test_shared_axes_are_those_of_keras(shared, shape):
    layer = built((None, 2, 3, 4), shared_axes=shared)
    assert tuple(layer.slopes.shape) == shape
    if shared != "spatial":
        theirs = layers.PReLU(shared_axes=shared)
        theirs.build((None, 2, 3, 4))
        assert tuple(theirs.alpha.shape) == shape


def test_what_a_model_keeps_of_the_units_is_sliced():
    """As pruning does."""
    inputs = keras.Input((3,))
    model = keras.Model(inputs, SparsePReLU(name="unit")(inputs))
    old = model.get_layer("unit")
    old.slopes.assign([0.1, 0.2, 0.3])

    def half(call, args, kwargs):
        new = SparsePReLU(name="unit")
        y = new(args[0][:, :2])
        pairs = zip(new.weights[:3], old.weights[:3], strict=True)
        return Edited(
            ops.pad(y, [[0, 0], [0, 1]]),
            [(w, (v, ([0, 2],))) for w, v in pairs],
        )

    new = rewrite(model, half)
    found = arrays([new.get_layer("unit").slopes])[0]
    np.testing.assert_allclose(found, [0.1, 0.3])


def test_copies_in_a_repeat_are_penalized():
    model = keras.Sequential([keras.Input((3,)), Repeat(SparsePReLU(0.1), 4)])
    (loss,) = model.losses
    assert float(loss) == pytest.approx(0.1 * 12)


def test_sloped_has_no_nan_of_a_nan_in_the_other_branch():
    x = np.array([[np.inf, np.nan, -1.0]], "float32")
    found = arrays([sloped(ops.convert_to_tensor(x), 0.5)])[0]
    np.testing.assert_array_equal(found, [[np.inf, np.nan, -0.5]])


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"strength": -1.0}, "strength"),
        ({"strength": "much"}, "strength"),
        ({"power": 0}, "power"),
        ({"threshold": 0.0}, "threshold"),
        ({"threshold": 1.0}, "threshold"),
        ({"negative_slope": 0.99}, "negative_slope"),
        ({"negative_slope": float("nan")}, "negative_slope"),
        ({"shared_axes": "all"}, "shared_axes"),
        ({"shared_axes": [1.5]}, "shared_axes"),
    ],
)
def test_bad_arguments(arguments, named):
    with pytest.raises(ValueError, match=named):
        SparsePReLU(**arguments)


@pytest.mark.parametrize(
    ("shape", "shared", "message"),
    [
        ((None, None, 3), [], "size of each axis"),
        ((None, 2, 3), [3], "axes of the input"),
        ((None, 2, 3), [0], "axes of the input"),
        ((None,), "spatial", "size of each axis"),
    ],
)
def test_bad_shapes(shape, shared, message):
    with pytest.raises(ValueError, match=message):
        built(shape, shared_axes=shared)
