"""Squash and routing against the figures of the authors' code."""

from pathlib import Path

import keras
import numpy as np
import pytest
from keras import ops

from tests.helpers import arrays, images
from tfdeep import backend
from tfdeep.layers import RoutingCapsules, dynamic_routing, squash
from tfdeep.layers.routing import clipped, norm, sda_routing, votes

FOLDER = Path(__file__).parent / "capsules"


def close(actual, expected, tolerance=1e-10):
    np.testing.assert_allclose(actual, expected, 0, tolerance)


def test_squash_golden(float64):
    golden = np.load(FOLDER / "squash.npz")
    s, g = (ops.convert_to_tensor(golden[key]) for key in ("s", "grad_w"))
    close(squash(s), golden["v"])
    (ds,) = arrays(backend.vjp(squash, [s], g))
    known = np.isfinite(golden["grad_s"])  # Theirs is not a number at 0.
    close(ds[known], golden["grad_s"][known])
    assert np.isfinite(ds).all()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_squash_is_finite_everywhere(dtype):
    x = np.array([[0, 0], [1e-4, 0], [3e-3, 1], [200, 300]], "float32")
    s = ops.cast(x, dtype)
    v, ds = squash(s), backend.vjp(squash, [s], ops.ones_like(s))[0]
    assert keras.backend.standardize_dtype(v.dtype) == dtype
    for values in (v, ds):
        assert np.isfinite(np.array(ops.cast(values, "float32"))).all()
    length = np.linalg.norm(np.array(ops.cast(v, "float32")), axis=-1)
    expected = np.sum(x**2, -1) / (1 + np.sum(x**2, -1))
    np.testing.assert_allclose(length, expected, 1e-2, 1e-6)


def test_norm_has_a_gradient_of_zero_at_zero():
    x = ops.zeros((2, 3))
    (dx,) = arrays(backend.vjp(norm, [x], ops.ones((2,))))
    np.testing.assert_array_equal(dx, np.zeros((2, 3)))


@pytest.mark.parametrize("steps", [1, 2, 3])
@pytest.mark.parametrize("kind", ["RBA", "SDA"])
def test_routing_golden(kind, steps, float64):
    golden = np.load(FOLDER / "routing.npz")

    def route(kernel, u):
        u_hat = votes(u, kernel)
        if kind == "RBA":
            return dynamic_routing(u_hat, steps)
        return sda_routing(u_hat, u, 0.1, steps)

    kernel, u = golden["W"][0], golden["u"]
    primals = [ops.convert_to_tensor(x) for x in (kernel, u)]
    name = f"{kind}{steps}"
    close(route(*primals), golden[f"{name}_v"])
    g = ops.convert_to_tensor(golden["g"])
    dw, du = arrays(backend.vjp(route, primals, g))
    close(dw, golden[f"{name}_gW"][0])
    close(du, golden[f"{name}_gu"])


def by_loops(u, kernel, steps):
    """Routing as it is told, one capsule at a time."""
    out, count = kernel.shape[:2]
    result = []
    for sample in u:
        u_hat = [[kernel[o, i] @ sample[i] for i in range(count)]
                 for o in range(out)]  # fmt: skip
        b = np.zeros((out, count))
        for _ in range(steps):
            c = np.exp(b) / np.exp(b).sum(0)
            v = []
            for o in range(out):
                s = sum(c[o, i] * u_hat[o][i] for i in range(count))
                n = np.linalg.norm(s)
                v.append(n**2 / (1 + n**2) * s / (n + 1e-8))
            b = b + [[u_hat[o][i] @ v[o] for i in range(count)]
                     for o in range(out)]  # fmt: skip
        result.append(v)
    return np.array(result)


@pytest.mark.parametrize("steps", [1, 4])
def test_layer_equals_loops(steps):
    layer = RoutingCapsules(5, 3, steps, kernel_initializer="he_normal")
    u = images(2, 6, 4)
    v = np.array(layer(u))
    np.testing.assert_allclose(v, by_loops(u, np.array(layer.kernel), steps),
                               1e-4, 1e-6)  # fmt: skip


def test_one_step_of_routing_is_a_mean_and_a_squash():
    layer = RoutingCapsules(5, 3, 1, kernel_initializer="he_normal")
    u = images(2, 6, 4)
    v = layer(u)
    mean = np.einsum("oidk,bik->bod", np.array(layer.kernel), u) / 5
    np.testing.assert_allclose(v, squash(mean), 1e-5, 1e-6)


def test_clipped_votes_are_no_longer_than_their_capsules():
    u_hat, u = images(2, 5, 6, 3), images(2, 6, 4, seed=1)
    u_hat[0, 0, 0] = 0
    y = np.array(clipped(u_hat, u))
    length = np.linalg.norm(y, axis=-1)
    assert (length <= np.linalg.norm(u, axis=-1)[:, None] * (1 + 1e-6)).all()
    assert np.isfinite(y).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 3), "num_capsules"),
        ((3, 2.5), "capsule_dim"),
        ((3, 2, True), "num_routing"),
        ((3, 2, 3, "em"), "routing"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        RoutingCapsules(*arguments)


def test_bad_inputs():
    for shape in ((2, 4), (2, None, 4), (2, 4, 4, 4)):
        with pytest.raises(ValueError, match="must be capsules"):
            RoutingCapsules(3, 2).build(shape)
