"""GradInit takes the steps of another implementation, in float64."""

from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers

from tests.helpers import BACKEND
from tests.initializers.grad_init.nets import quick

GOLDEN = np.load(Path(__file__).with_name("golden.npz"))


@pytest.mark.parametrize(
    "name,settings",
    [
        ("sgd", {"learning_rate": 0.1, "gamma": 1.0}),
        ("adam", {"learning_rate": 0.01, "gamma": 12.0, "normalize": False}),
    ],
)
def test_golden_trajectory(name, settings, float64):
    model = keras.Sequential(
        [
            keras.Input((8,)),
            layers.Dense(16, activation="relu"),
            layers.Dense(16, activation="tanh"),
            layers.Dense(4),
        ]
    )
    model.set_weights([GOLDEN[f"{name}/initial/{i}"] for i in range(6)])
    x, y = GOLDEN[f"{name}/x"], GOLDEN[f"{name}/y"]
    # Seven half-batches in turn, two in each batch.
    pairs = [((2 * i) % 7, (2 * i + 1) % 7) for i in range(7)]
    batches = [(x[[*p]].reshape(16, 8), y[[*p]].reshape(16)) for p in pairs]
    init = quick(60, algorithm=name, **settings)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    init.initialize_model(model, batches, loss)
    assert init.history["constraint"] == GOLDEN[f"{name}/constraint"].tolist()
    # XLA's tanh on a CPU has half of the digits.
    atol = 1e-10 if BACKEND == "tensorflow" else 1e-6
    np.testing.assert_allclose(
        init.history["scales"], GOLDEN[f"{name}/scales"], rtol=0, atol=atol
    )
    for i, weight in enumerate(model.get_weights()):
        np.testing.assert_allclose(
            weight, GOLDEN[f"{name}/final/{i}"], rtol=0, atol=atol
        )
