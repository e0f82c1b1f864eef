"""Masks of random layers: new for each example and step, one for a gradient."""

import numpy as np
import pytest
from keras import layers

from tests.helpers import arrays
from tests.privacy.reference import norm_of
from tfdeep.layers import Repeat, StochasticBlock, StochasticDepth
from tfdeep.privacy import GaussianMechanism


@pytest.mark.parametrize(
    "arguments",
    [{}, {"method": "vectorized"}, {"microbatch_size": 8}],
    ids=str,
)
def test_masks_differ_between_examples_and_steps(arguments, private, data):
    x = np.repeat(data[0][:1], 16, axis=0)
    y = np.zeros(16, "int32")
    model = private(layers.Dropout(0.5, seed=1), **arguments)
    one, other = (arrays([model.per_example_norms(x, y)])[0] for _ in range(2))
    assert np.unique(one.round(6)).size > 8
    assert np.abs(one - other).max() > 1e-3


def test_norm_and_gradient_have_the_same_mask(private, data):
    """With one example the clipped sum has exactly the norm of the clip."""
    model = private(layers.Dropout(0.9, seed=1), l2_norm_clip=0.1)
    for index in range(4):
        one = [each[index : index + 1] for each in data]
        norm = norm_of(arrays(model.clipped_sum(*one)))
        assert norm == pytest.approx(0.1, rel=1e-5)


DROPPED = {
    "depth": lambda: StochasticDepth(layers.Dense(6), 0.5, seed=1),
    "inverted": lambda: StochasticDepth(
        layers.Dense(6), 0.5, seed=1, inverted=True
    ),
    "copies": lambda: Repeat(layers.Dense(6), 2, [0.5, 0.5], seed=1),
    "block": lambda: StochasticBlock(layers.Dense(6), 0.5, seed=1),
}


@pytest.mark.parametrize("method", ["auto", "loop"])
@pytest.mark.parametrize("kind", DROPPED)
def test_each_example_decides_by_itself_what_is_skipped(
    kind, method, private, data
):
    """Equal examples have as many norms as there are decisions."""
    x, y = np.repeat(data[0][:1], 24, axis=0), np.zeros(24, "int32")
    mechanism = GaussianMechanism(1.0)
    model = private(DROPPED[kind](), method=method, mechanism=mechanism)
    (norms,) = arrays([model.per_example_norms(x, y)])
    assert np.unique(norms.round(4)).size == (4 if kind == "copies" else 2)
    (again,) = arrays([model.per_example_norms(x, y)])
    assert np.any(norms != again)
    model.compile("sgd", model.loss)
    assert np.isfinite(model.fit(x, y, verbose=0).history["loss"]).all()
