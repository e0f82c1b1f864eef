"""Each form of a gradient is what the same gradient in memory is."""

import numpy as np
import pytest
from keras import ops

from tests.helpers import arrays, close
from tfdeep import backend
from tfdeep.privacy.per_example import gradients
from tfdeep.privacy.per_example.convolution import kernel_form
from tfdeep.privacy.per_example.gradients import Instances, Lookup, Product

KEPT = np.array([True, False, True])
FACTORS = np.array([0.5, 9.0, 2.0], "float32")


def normal(*shape, seed=0):
    values = np.random.default_rng(seed).normal(size=shape)
    return values.astype("float32")


def as_it_is(product):
    return product


def product(positions, groups=1, parts=1, width=6, seed=0):
    """A form and the gradients (3, groups, width, 8) that it stands for."""
    a = normal(3, positions, groups, width, seed=seed)
    g = normal(3, positions, groups, 8, seed=seed + 1)
    inputs = map(ops.convert_to_tensor, np.split(a, parts, axis=-1))
    form = Product(list(inputs), ops.convert_to_tensor(g), as_it_is)
    return form, np.einsum("ntgi,ntgo->ngio", a, g)


def instances(*shape):
    tensor = normal(3, *shape, seed=5)
    return Instances(ops.convert_to_tensor(tensor)), tensor


def lookup(seed=0):
    """A form of 4 positions in a table of 5 rows, some of them the same."""
    rows = np.array([[0, 1, 1, 4], [2, 2, 2, 2], [3, 0, 3, 1]])
    grads = normal(3, 4, 7, seed=seed)
    dense = np.zeros((3, 5, 7), "float32")
    for example in range(3):
        np.add.at(dense[example], rows[example], grads[example])
    form = Lookup(ops.convert_to_tensor(rows), ops.convert_to_tensor(grads), 5)
    return form, dense


FORMS = {
    "in memory": lambda: instances(4, 2),
    "one position": lambda: product(1, groups=2),
    "few positions": lambda: product(2),
    "few positions in groups": lambda: product(2, groups=2, parts=3),
    "many positions": lambda: product(9),
    "many positions in parts": lambda: product(9, groups=2, parts=3),
    "depthwise": lambda: product(9, groups=4, width=1),
    "rows of a table": lookup,
}
SUMS = {
    "alike": lambda: (product(2), product(9, seed=3)),
    "in other parts": lambda: (product(2), product(9, parts=2, seed=3)),
    "in memory": lambda: (product(2), instances(1, 6, 8)),
    "tables": lambda: (lookup(), lookup(seed=3)),
    "a table in memory": lambda: (lookup(), instances(5, 7)),
}


def compare(make, dense):
    """Assert what a form knows, and that it does not matter what was asked."""
    axes = tuple(range(1, dense.ndim))
    scaled = (FACTORS * KEPT).reshape(-1, *[1] * (dense.ndim - 1)) * dense
    kept = ops.convert_to_tensor(KEPT)
    factors = ops.convert_to_tensor(FACTORS)
    asked = make()
    (squares,) = arrays([asked.square_norms()])
    np.testing.assert_allclose(squares, np.sum(dense**2, axes), rtol=1e-4)
    for form in (make(), asked):
        sums, records = arrays(
            [form.weighted_sum(factors, kept), form.records(kept)]
        )
        close([sums], [scaled.sum(axis=0)], 1e-4, 1e-4)
        zero = dense * KEPT.reshape(-1, *[1] * (dense.ndim - 1))
        close([records], [zero], 1e-4, 1e-4)


@pytest.mark.parametrize("name", FORMS)
def test_forms(name):
    compare(lambda: FORMS[name]()[0], FORMS[name]()[1])


@pytest.mark.parametrize("name", SUMS)
def test_sums_of_forms(name):
    (_, one), (_, other) = SUMS[name]()

    def make():
        return gradients.added([form for form, _ in SUMS[name]()])

    compare(make, one + other)


@pytest.mark.parametrize("name", FORMS)
def test_what_is_not_kept_may_be_anything(name):
    form, _ = FORMS[name]()
    part = "tensor" if isinstance(form, Instances) else "grads"
    tensor = getattr(form, part)
    spoiled = np.array([1.0, np.nan, 1.0], "float32")
    spoiled = spoiled.reshape(-1, *[1] * (len(tensor.shape) - 1))
    setattr(form, part, tensor * ops.convert_to_tensor(spoiled))
    kept = ops.convert_to_tensor(KEPT)
    sums = form.weighted_sum(ops.ones((3,)), kept)
    assert all(np.isfinite(a).all() for a in arrays([sums, form.records(kept)]))


@pytest.mark.tensorflow
@pytest.mark.parametrize(
    "positions, size, avoided", [(2, 50, 50 * 50), (30, 2, 30 * 30)]
)
def test_norms_come_from_the_smaller_of_pairs_and_product(
    positions, size, avoided
):
    """No tensor of an example is as large as in the way that is not taken."""
    import tensorflow as tf

    @tf.function
    def norms(inputs, grads):
        return Product([inputs], grads, as_it_is).square_norms()

    tensor = tf.zeros((4, positions, 1, size))
    sizes = [
        output.shape.num_elements() // 4
        for operation in norms.get_concrete_function(
            tensor, tensor
        ).graph.get_operations()
        for output in operation.outputs
    ]
    assert max(sizes) < avoided


@pytest.mark.jax
def test_patches_are_of_one_convolution_at_a_time(monkeypatch):
    import jax

    def memory():
        def norms(tensors):
            forms = [
                kernel_form(x, x, ((3, 3), (1, 1), (1, 1), "same"), *rest)
                for x in tensors
            ]
            return gradients.Gradients(forms).square_norms()

        rest = (1, 1, (3, 3, 16, 16))
        compiled = jax.jit(norms).lower([x] * 6).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    x = jax.ShapeDtypeStruct((8, 16, 16, 16), "float32")
    in_order = memory()
    monkeypatch.setattr(backend, "once_known", lambda tensor, event: tensor)
    assert in_order < memory() / 2
