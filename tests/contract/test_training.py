"""Plain `fit` trains every weight: eager, as a graph, compiled by XLA."""

import numpy as np
import pytest

from tests.contract.cases import CASES, layer_names
from tests.contract.harness import BACKEND, images, model_of, train, values

MODES = {
    "eager": {"run_eagerly": True, "jit_compile": False},
    "graph": {"jit_compile": False},
    "xla": {"jit_compile": True},
}
RUNS = [(name, mode) for name in CASES for mode in MODES]
if BACKEND == "jax":
    # Keras on JAX has no graph but XLA's: without it a step runs eagerly.
    # Each operation is compiled then; the models repeat those of the layers.
    RUNS = [
        (name, mode)
        for name, mode in RUNS
        if mode == "xla" or (mode == "eager" and name in layer_names())
    ]


@pytest.mark.parametrize(("name", "mode"), RUNS)
def test_every_weight_is_trained(name, mode):
    model = model_of(name)
    weights = model.trainable_variables
    before = [np.array(w) for w in weights]
    # Enough steps that no branch is dropped at all of them.
    epochs = 3 if CASES[name].random else 1
    losses = train(model, images(name, 4), epochs, **MODES[mode])
    assert np.isfinite(losses).all()
    assert all(np.isfinite(w).all() for w in values(model))
    unmoved = [
        w.path
        for w, old in zip(weights, before, strict=True)
        if np.array_equal(np.array(w), old)
    ]
    assert unmoved == []
