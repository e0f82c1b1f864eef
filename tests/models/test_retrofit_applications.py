"""The nets of `keras.applications`, with layers added and removed."""

import keras
import numpy as np
import pytest

import tfdeep
from tests.helpers import (
    BACKEND,
    images,
)
from tests.models.retrofitting import (
    ADD,
    added,
    described,
    each_form,
    outputs,
)
from tfdeep.layers.retrofitted import SetAside
from tfdeep.models import (
    find_residual_branches,
    remove_stochastic_depth,
)

# In the suite two of them, the others with `make claims`.
APPLICATIONS = [
    "EfficientNetB0",
    "MobileNetV3Small",
    *(
        pytest.param(name, marks=pytest.mark.claim)
        for name in (
            "ResNet50",
            "ResNet50V2",
            "ResNet101",
            "MobileNetV2",
            "EfficientNetV2B0",
            "ConvNeXtTiny",
        )
    ),
]


@pytest.mark.slow
@each_form
@pytest.mark.parametrize("name", APPLICATIONS)
def test_applications(name, form, tmp_path):
    model = getattr(keras.applications, name)(
        weights=None, input_shape=(32, 32, 3), classifier_activation=None
    )
    for weight in model.weights:  # Else nothing but biases is left behind.
        if weight.path.endswith(("moving_variance", "gamma")):
            values = 0.5 + np.random.default_rng(0).random(weight.shape)
            weight.assign(values.astype("float32"))
    x = 50 * images(2, 32, 32, 3)
    expected = outputs(model, x)
    assert len(np.unique(expected)) > 1000
    new = ADD[form](model, seed=0)
    assert len(added(new, form)) == len(find_residual_branches(model))
    np.testing.assert_array_equal(outputs(new, x), expected)
    aside = [
        layer
        for layer in tfdeep.keras_internals.layers_of(new)
        if isinstance(layer, SetAside)
    ]
    own = name.startswith("EfficientNet")
    assert len(aside) == (len(added(new, form)) if own else 0)
    plain = remove_stochastic_depth(new)
    np.testing.assert_array_equal(outputs(plain, x), expected)
    assert described(plain) == described(model)
    plain.save_weights(tmp_path / "plain.weights.h5")
    model.load_weights(tmp_path / "plain.weights.h5")
    np.testing.assert_array_equal(outputs(model, x), expected)
    if name in ("ResNet101", "EfficientNetB0"):  # Building alone, and time.
        return
    new.compile("sgd", "mse", jit_compile=BACKEND == "jax")
    loss = new.train_on_batch(x / 50, np.zeros((2, 1000), "float32"))
    assert np.isfinite(float(loss))
