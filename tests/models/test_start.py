"""Every net, as its defaults make it, learns in all of its layers."""

import keras
import numpy as np
import pytest
from keras import ops

from tests.contract.exports import exports_of
from tests.helpers import arrays, images
from tests.training.harness import EAGER
from tfdeep import backend, models
from tfdeep.losses import MarginLoss

# Depths, and widths, are a user's to choose.
DEPTHS = {
    "DenseNet": (22,),
    "MomentumCapsNet": (3,),
    "ResNeXt": (11,),
    "ResNet": (20,),
    "WideResNet": (10, 1),
}


def inputs_and_targets(name, model):
    y = np.arange(4) % 10
    if name == "MomentumCapsNet":
        x = np.random.default_rng(0).uniform(size=(4, 28, 28, 1))
        x = x.astype("float32")
        return {"image": x, "label": y}, {"length": y, "reconstruction": x}
    return images(4, *model.input_shape[1:]), y


def losses(name):
    if name == "MomentumCapsNet":
        mse = keras.losses.MeanSquaredError()
        return {"length": MarginLoss(), "reconstruction": mse}
    return keras.losses.SparseCategoricalCrossentropy()


def kernels(model):
    """The indices of what is no scale and no offset."""
    return [
        index
        for index, weight in enumerate(model.trainable_variables)
        if "kernel" in weight.path
    ]


def each(model, index, value):
    """A kernel, or the kernels of all blocks, stacked along an axis."""
    stacked = model.trainable_variables[index].path == "blocks/kernel"
    return list(value) if stacked else [value]


def gradients(name, model, x, y):
    """Those of the loss, without penalties of the weights."""
    trainable, state = backend.read_variables(model)

    def loss(*trainable):
        outputs = backend.stateless_call(
            model, list(trainable), state, x, training=True
        )[0]
        parts = keras.tree.map_structure(
            lambda loss, y, out: loss(y, out), losses(name), y, outputs
        )
        return sum(keras.tree.flatten(parts))

    _, found = backend.value_and_vjp(loss, trainable, ops.ones(()))
    return arrays(found)


def test_every_family_is_here():
    names = {name.rpartition(".")[2] for name in exports_of("model")}
    assert names == set(DEPTHS)


@pytest.mark.tensorflow  # XLA takes minutes for the convolutions on a CPU.
@pytest.mark.parametrize(
    "name",
    [
        name
        if name == "MomentumCapsNet"
        else pytest.param(name, marks=pytest.mark.slow)
        for name in DEPTHS
    ],
)
def test_every_kernel_has_a_gradient_and_moves(name):
    model = getattr(models, name)(*DEPTHS[name], seed=0)
    x, y = inputs_and_targets(name, model)
    model.compile(keras.optimizers.Adam(1e-3), losses(name), **EAGER)
    found, places = gradients(name, model, x, y), kernels(model)
    before = arrays(model.trainable_variables)
    for _ in range(2):
        model.train_on_batch(x, y)
    after = arrays(model.trainable_variables)
    assert len(places) >= 7
    for index in places:
        path = model.trainable_variables[index].path
        for gradient in each(model, index, found[index]):
            assert np.abs(gradient).max() > 1e-12, path
        for change in each(model, index, after[index] - before[index]):
            assert np.abs(change).max() > 1e-4, path
