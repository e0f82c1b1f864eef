"""Gradients of examples through standardised kernels equal a loop's."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from tfdeep.layers import WeightStandardizedConv2D
from tfdeep.privacy import GaussianMechanism, PrivateModel


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"strides": 2, "padding": "same"},
        {"groups": 2, "use_bias": False},
        {"epsilon": 40.0},
    ],
    ids=str,
)
def test_norms_and_sums_equal_a_loop_over_examples(options):
    inputs = keras.Input((7, 6, 4))
    x = WeightStandardizedConv2D(6, 3, activation="tanh", **options)(inputs)
    x = WeightStandardizedConv2D(4, 2)(x)
    net = keras.Model(inputs, layers.Dense(3)(layers.Flatten()(x)))
    rng = np.random.default_rng(0)
    for weight in net.weights:
        weight.assign(0.5 * rng.normal(size=weight.shape))
    x = rng.normal(size=(5, 7, 6, 4)).astype("float32")
    y = rng.normal(size=(5, 3)).astype("float32")
    found = []
    for method in ("auto", "loop"):
        model = PrivateModel(
            net, mechanism=GaussianMechanism(0.0), method=method
        )
        model.compile("sgd", "mse")
        sums = model.clipped_sum(x, y)
        found.append([model.per_example_norms(x, y), *sums])
        if method == "auto":
            table = model.describe_clipping()
            rows = [row for row in table.splitlines() if "Standardized" in row]
            assert len(rows) == 2 and all("book-keeping" in r for r in rows)
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_allclose(
            ops.convert_to_numpy(ours),
            ops.convert_to_numpy(theirs),
            rtol=2e-5,
            atol=2e-6,
        )
