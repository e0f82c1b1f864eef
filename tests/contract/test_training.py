"""Plain `fit` trains every weight: eager, as a graph, compiled by XLA."""

import numpy as np
import pytest

from tests.contract.cases import CASES
from tests.contract.harness import BACKEND, images, model_of, train, values

MODES = {
    "eager": {"run_eagerly": True, "jit_compile": False},
    "graph": {"jit_compile": False},
    "xla": {"jit_compile": True},
}
if BACKEND == "jax":
    # Keras on JAX has no graph but XLA's: without it a step runs eagerly.
    del MODES["graph"]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", CASES)
def test_every_weight_is_trained(name, mode):
    model = model_of(name)
    weights = model.trainable_variables
    before = [np.array(w) for w in weights]
    # Several epochs, so that no branch is dropped at every step.
    losses = train(model, images(name, 4), epochs=3, **MODES[mode])
    assert np.isfinite(losses).all()
    assert all(np.isfinite(w).all() for w in values(model))
    unmoved = [
        w.path
        for w, old in zip(weights, before, strict=True)
        if np.array_equal(np.array(w), old)
    ]
    assert unmoved == []
