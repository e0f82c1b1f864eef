"""What is tried: every layer of Keras and of this package, and operations.

A case is a name and a maker of a model of any batch size, or of a layer.
"""

import inspect

import keras
import numpy as np
from keras import layers as L
from keras import ops

from tests import keras_layers
from tests.contract.cases import CASES, is_variant
from tests.contract.harness import model_of
from tests.models.residual_nets import own_drop_path
from tfdeep.models import add_drop_path, add_stochastic_depth

ROWS = 4
# Of these one line cannot hold: they are refused, or compute what is given.
WITHOUT = {
    "Lambda": "computes what somebody wrote",
    "SpectralNormalization": "is refused",
    "ActivityRegularization": "is refused",
    "BatchNormalization": "is refused unless it is frozen",
    "BatchEntropy": "is refused",
}
SHAPE = (4, 6)
AXES = (0, 1, 2, -1, -2, -3, (1, 2), (0, 1), (-1, -3))


def values(shape, seed=0):
    """Normal numbers, or whole ones below 20 where asked for."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(ROWS, *shape)).astype("float32")


def inputs_of(model):
    """A batch for a model, by the dtype and shape of its inputs.

    For a layer that changes pictures, the bytes of some.
    """
    if not isinstance(model, keras.Model):
        return np.clip(128.0 + 50.0 * values((16, 16, 3)), 0.0, 255.0)
    found = []
    for number, each in enumerate(model.inputs):
        x = values([size or 5 for size in each.shape[1:]], number)
        if "int" in each.dtype:
            x = (np.abs(7 * x) % 20).astype(each.dtype)
        found.append(x)
    return found if len(found) > 1 else found[0]


def frozen(model):
    """The model, with the batch statistics of normalizations at rest."""
    model.trainable = False
    return model


def keras_cases() -> dict:
    """A maker for each layer class of Keras, by its name."""
    made = dict(keras_layers.MODELS)
    for name, arguments in keras_layers.IMAGES.items():
        # Alone: in a graph they are left out, unless it is being trained.
        made[name] = lambda _, n=name, a=arguments: getattr(L, n)(**a)
    for name in keras_layers.SOUND:
        made[name] = lambda batch, n=name: keras_layers.sound_model(n, batch)
    for name in ("Discretization", "Hashing", "IntegerLookup"):
        made[name] = lambda batch, n=name: looked_up(n, batch)
    return {
        name: lambda make=make: frozen(make(None))
        for name, make in made.items()
    }


def looked_up(name, batch):
    """A model that makes integers of numbers."""
    dtype, arguments = keras_layers.LOOKUPS[name]
    inputs = keras.Input((5,), batch, dtype=dtype)
    return keras.Model(inputs, getattr(L, name)(**arguments)(inputs))


def own_cases() -> dict:
    """A maker for each layer and net of this package."""
    names = [name for name in CASES if not is_variant(name)]
    added = {
        "AddedStochasticDepth": add_stochastic_depth,
        "AddedDropPath": add_drop_path,
    }
    return {
        **{name: lambda n=name: frozen(model_of(n)) for name in names},
        **{
            name: lambda add=add: frozen(add(own_drop_path()))
            for name, add in added.items()
        },
    }


def axis_cases() -> dict:
    """A maker for each axis that a layer may be told."""
    makers = {
        "Softmax": lambda axis: L.Softmax(axis),
        "LayerNormalization": lambda axis: L.LayerNormalization(axis=axis),
        "RMSNormalization": lambda axis: L.RMSNormalization(axis=axis),
        "UnitNormalization": lambda axis: L.UnitNormalization(axis=axis),
        "GroupNormalization": lambda axis: L.GroupNormalization(2, axis=axis),
        "Concatenate": lambda axis: Twice(L.Concatenate(axis=axis)),
    }
    equations = ("abc,cd->abd", "abc,cd->bad", "abc,ad->bd", "...c,cd->...d")
    found = {
        f"{name}({axis})": lambda make=make, axis=axis: around(make(axis))
        for name, make in makers.items()
        for axis in AXES
    }
    for equation in equations:
        shape = 3 if equation[0] == "." else (None, 3)
        found[f"EinsumDense({equation})"] = lambda e=equation, s=shape: around(
            L.EinsumDense(e, s)
        )
    return found


class Twice:
    """A call of a layer on one input, given twice."""

    def __init__(self, layer):
        self.layer = layer

    def __call__(self, x):
        return self.layer([x, 2.0 * x])


def around(call, shape=SHAPE):
    """A model of one call."""
    inputs = keras.Input(shape)
    return keras.Model(inputs, call(inputs))


def operations() -> dict:
    """A maker for each operation, on each axis."""
    found = {}
    for name, function in vars(ops).items():
        if takes_one(function):
            found[name] = lambda n=name: around(getattr(ops, n))
    for name in (
        "all any argmax argmin cumsum cumprod flip log_softmax logsumexp max "
        "mean min norm normalize prod softmax sort std sum var expand_dims "
        "median argsort nanmax nanmean count_nonzero"
    ).split():
        for axis in (None, 0, 1, -1, -2, -3):
            found[f"{name}({axis})"] = lambda n=name, a=axis: around(
                lambda x: getattr(ops, n)(x, axis=a)
            )
    found.update(OTHERS)
    return found


def takes_one(function) -> bool:
    """Whether it is a function that can be called with one tensor."""
    if not inspect.isfunction(function):
        return False
    first, *rest = (*inspect.signature(function).parameters.values(), None)
    return first is not None and all(
        each is None or each.default is not inspect.Parameter.empty
        for each in rest
    )


OTHERS = {
    "reversed": lambda: around(lambda x: x[::-1]),
    "half": lambda: around(lambda x: x[:2]),
    "columns": lambda: around(lambda x: x[:, 1:]),
    "last": lambda: around(lambda x: x[..., -1]),
    "row": lambda: around(lambda x: x + x[0]),
    "roll": lambda: around(lambda x: ops.roll(x, 1, axis=0)),
    "roll all": lambda: around(lambda x: ops.roll(x, 1)),
    "difference": lambda: around(lambda x: x - ops.mean(x, axis=0)),
    "product": lambda: around(
        lambda x: ops.matmul(x, ops.transpose(x, (0, 2, 1)))
    ),
    "turned": lambda: around(lambda x: ops.transpose(x, (1, 0, 2))),
    "all turned": lambda: around(ops.transpose),
    "flat": lambda: around(lambda x: ops.reshape(x, (-1, 24))),
    "flatter": lambda: around(lambda x: ops.reshape(x, (-1, 6))),
    "wider": lambda: around(lambda x: ops.reshape(x, (-1, 48))),
    "einsum": lambda: around(lambda x: ops.einsum("bij,cij->bij", x, x)),
    "concatenated": lambda: around(lambda x: ops.concatenate([x, x], 0)),
    "ranks": lambda: around(lambda x: x[:, 0, :4] + x[:, :, 0]),
    "where": lambda: around(lambda x: ops.where(x > 0, x, ops.flip(x, 0))),
    "take": lambda: around(lambda x: ops.take(x, [0, 0, 1], axis=0)),
    "repeat": lambda: around(lambda x: ops.repeat(x, 2, axis=0)),
    "split": lambda: around(lambda x: ops.split(x, 2, axis=1)[0]),
}
