"""Every wrapper trains models with the layers of this package."""

import keras
import numpy as np
import pytest
from keras import layers

import tfdeep
from tests.helpers import arrays
from tests.training.harness import MODES, NESTED, SINGLE, fit

WRAPPERS = {**SINGLE, **NESTED}
RUNS = [("entropy of supervision", "graph"), ("relay", "xla")]


def model_of_ours():
    """Skipped branches, undone blocks, recomputation, copies in a loop."""
    inputs = keras.Input((4, 4, 4))
    x = tfdeep.layers.BasicBlock(
        4, survival_probability=0.5, seed=1, name="hidden_0"
    )(inputs)
    blocks = [layers.Conv2D(4, 3, padding="same") for _ in range(2)]
    x = tfdeep.layers.ReversibleStack(blocks)(x)
    x = tfdeep.layers.DenseBlock(1, 2, recompute=True, seed=1, name="hidden_1")(
        x
    )
    x = layers.GlobalAveragePooling2D()(x)
    x = layers.Dropout(0.2, seed=1)(x)
    x = tfdeep.layers.Repeat(layers.Dense(6, "tanh"), 3)(x)
    x = layers.BatchNormalization(name="norm")(x)
    x = layers.Dense(6, "relu", name="hidden_2")(x)
    return keras.Model(inputs, layers.Dense(3)(x))


@pytest.mark.slow
@pytest.mark.parametrize("name, mode", RUNS)
def test_every_weight_moves(name, mode):
    """Statistics as well; a branch may be skipped, but not in every step."""
    wrapper = WRAPPERS[name](model_of_ours())
    wrapper.compile(keras.optimizers.SGD(0.01), "mse", **MODES[mode])
    variables = wrapper.trainable_variables
    norm = wrapper.plain().get_layer("norm")
    before = arrays([*variables, norm.moving_mean])
    random = np.random.default_rng(0)
    x = random.normal(size=(16, 4, 4, 4)).astype("float32")
    history = fit(wrapper, (x, random.normal(size=(16, 3))), batch_size=4)
    assert np.isfinite(history["loss"]).all()
    variables = [*variables, norm.moving_mean]
    unmoved = [
        variable.path
        for variable, old, new in zip(
            variables, before, arrays(variables), strict=True
        )
        if np.array_equal(old, new)
    ]
    assert unmoved == []
