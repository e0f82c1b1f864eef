"""The alphas of the regularizer never decay, in whatever optimizer."""

import keras
import numpy as np
import pytest
from keras import layers

from tests.helpers import arrays
from tests.training.harness import EAGER, fit
from tfdeep.training import BatchEntropyRegularizer, DeepSupervision, Head


def test_other_weights_decay_as_they_would(net, data, crossentropy):
    """What the owner of the optimizer excluded stays so, by name or itself."""
    wrapper = BatchEntropyRegularizer(net(), alpha=3.0, beta=0.0)
    optimizer = keras.optimizers.AdamW(0.1, weight_decay=0.5)
    first, *_ = wrapper.base.layers
    optimizer.exclude_from_weight_decay([first.kernel], ["bias"])
    twin = BatchEntropyRegularizer(net(), alpha=3.0, beta=0.0)
    before = arrays(wrapper.base.trainable_variables)
    wrapper.compile(optimizer, crossentropy, **EAGER)
    twin.compile(keras.optimizers.Adam(0.1), crossentropy, **EAGER)
    for each in (wrapper, twin):
        fit(each, data)
    np.testing.assert_array_equal(wrapper.alphas.numpy(), 3.0)
    decayed, plain = (each.base.trainable_variables for each in (wrapper, twin))
    for a, b, old in zip(decayed, plain, before, strict=True):
        lost = b.numpy() - a.numpy()
        spared = "bias" in a.path or a is first.kernel
        expected = 0.0 if spared else 0.05 * old
        np.testing.assert_allclose(lost, expected, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("scaled", [False, True])
def test_exclusions_outlast_the_heads(net, data, crossentropy, scaled):
    """A weight without a gradient, which is excluded, stays where it is."""
    model = net()
    first, *_ = model.layers
    wrapper = DeepSupervision(model, {first.name: Head(alpha=0.3)})
    optimizer = keras.optimizers.AdamW(0.1, weight_decay=0.5)
    optimizer.exclude_from_weight_decay([first.kernel], ["bias"])
    if scaled:
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    wrapper.compile(optimizer, crossentropy, **EAGER)
    fit(wrapper, data)
    base = wrapper.drop_heads()
    before = arrays(base.trainable_variables)
    base.optimizer.build(base.trainable_variables)
    base.optimizer.apply(
        [keras.ops.zeros_like(v) for v in base.trainable_variables]
    )
    for weight, old in zip(base.trainable_variables, before, strict=True):
        spared = "bias" in weight.path or weight is first.kernel
        moved = bool(np.any(weight.numpy() != old))
        assert moved != spared, weight.path


@pytest.mark.parametrize("when", ["built", "scaled", "unbuilt", "excluded"])
def test_alphas_never_decay_in_any_optimizer(net, data, crossentropy, when):
    model = net()
    if when == "unbuilt":
        model = keras.Sequential(
            [layers.Dense(4, "relu"), layers.Dense(3, name="out")]
        )
    wrapper = BatchEntropyRegularizer(model, beta=0.0)
    optimizer = keras.optimizers.AdamW(0.1, weight_decay=0.5)
    if when == "built":
        optimizer.build(wrapper.trainable_variables)
    elif when == "scaled":
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    wrapper.compile(optimizer, crossentropy, **EAGER)
    if when == "excluded":
        optimizer.exclude_from_weight_decay(var_names=["bias"])
    fit(wrapper, data)
    np.testing.assert_array_equal(wrapper.alphas.numpy(), 2.0)
