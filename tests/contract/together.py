"""One model of all cases side by side: one file, one export, one training.

What costs a process or a program of its own is shown for all of them at once.
Each case has its own input, its own weights and its own output.
"""

import keras
import numpy as np

from tests.contract.cases import CASES, is_variant, layer_names
from tests.contract.hard_use import freeze, what_trains
from tests.contract.harness import BACKEND, around, build, images, targets

MAIN = [name for name in CASES if not is_variant(name)]
LAYERS = [*filter(MAIN.__contains__, layer_names())]
# What is made of these layers is shown by two nets where it takes long.
FEW = [*LAYERS, "DenseNet", "ResNet"]


def together(names: list[str], settings: dict | None = None) -> keras.Model:
    """A model with the layers and models of the cases side by side.

    Args:
        names: the cases.
        settings: further arguments of the layer or model, by case.
    """
    inputs, outputs = [], []
    for name in names:
        shape = CASES[name].shape
        kwargs = {"name": key_of(name), **(settings or {}).get(name, {})}
        if name not in layer_names():
            kwargs["input_shape"] = shape
        inputs.append(keras.Input(shape))
        outputs.append(
            around(build(name, **kwargs), inputs[-1], f"{key_of(name)}_")
        )
    return keras.Model(inputs, outputs)


def key_of(name: str) -> str:
    """The name of the layer of a case."""
    return name.replace("-", "_").lower()


def inputs_of(names: list[str], count: int = 2) -> list:
    """The inputs of the model of these cases."""
    return [images(name, count) for name in names]


def outputs_of(model, names: list[str], x: list) -> dict:
    """What the model returns at inference, by case."""
    if BACKEND == "jax":
        outputs = model.predict(x, batch_size=len(x[0]), verbose=0)
    else:
        outputs = map(np.array, model(x, training=False))
    return dict(zip(names, outputs, strict=True))


def frozen(what: str) -> keras.Model:
    """The model of the main cases, each frozen in part."""
    model = together(FEW)
    for name in FEW:
        freeze(model.get_layer(key_of(name)), what)
    return model


def train_together(model, names: list[str]) -> None:
    """A few steps on batches of four."""
    y = [targets(8) for _ in names]
    model.fit(inputs_of(names, 8), y, batch_size=4, shuffle=False, verbose=0)


def trains(model) -> dict:
    """Of each main case: which weights train and which statistics move."""
    layers = {name: model.get_layer(key_of(name)) for name in FEW}
    return what_trains(model, inputs_of(FEW), layers)


def weights_of(model, name: str) -> list:
    """The weights of a case, states of random streams left out."""
    parts = (f"{key_of(name)}_below", key_of(name), f"{key_of(name)}_above")
    found = []
    for layer in model.layers:
        if layer.name in parts:
            found.extend(np.array(w) for w in layer.get_weights())
    return found
