"""Four nets of which a peer's groups, scores and pruned outputs are known.

Made by Torch-Pruning 1.6.1 on fixed weights, in float64; see `golden/`.
"""

import functools
import json
from pathlib import Path

import keras
import numpy as np
from keras import layers

FOLDER = Path(__file__).parent / "golden"


@functools.cache
def facts() -> dict:
    """What is known of each net."""
    return json.loads((FOLDER / "graphs.json").read_text(encoding="utf-8"))


@functools.cache
def values() -> dict:
    """Weights, inputs and outputs."""
    with np.load(FOLDER / "graphs.npz") as file:
        return dict(file)


def golden_net(name: str) -> keras.Model:
    """One of the nets, with its weights."""
    made: dict = {}
    for node in facts()[name]["nodes"]:
        inputs = [made[each] for each in node["inputs"]]
        made[node["name"]] = _made(node, inputs)
    first, *_, last = made.values()
    model = keras.Model(first, last)
    for layer in model.layers:
        found = values()
        if layer.weights:
            count = range(len(layer.weights))
            layer.set_weights(
                [found[f"{name}/{layer.name}/{i}"] for i in count]
            )
    return model


def _made(node: dict, inputs: list):
    kind, name = node["op"], node["name"]
    if kind == "input":
        channels, *size = node["shape_nchw"]
        return keras.Input((*size, channels))
    x = inputs[0]
    if kind == "conv2d":
        return _convolution(node, x)
    if kind == "linear":
        units = node.get("out_features", node.get("out"))
        return layers.Dense(units, use_bias=node["bias"], name=name)(x)
    if kind == "flatten_nchw":
        if len(x.shape) == 4:
            x = layers.Permute((3, 1, 2))(x)
        return layers.Flatten(name=name)(x)
    if kind in ("add", "concat"):
        merge = {"add": layers.Add, "concat": layers.Concatenate}[kind]
        return merge(name=name)(inputs)
    layer = {
        "batchnorm": lambda: layers.BatchNormalization(
            epsilon=node["eps"], name=name
        ),
        "relu": lambda: layers.ReLU(name=name),
        "relu6": lambda: layers.ReLU(6.0, name=name),
        "global_avg_pool": lambda: layers.GlobalAveragePooling2D(name=name),
        "avg_pool": lambda: layers.AveragePooling2D(2, name=name),
        "max_pool": lambda: layers.MaxPooling2D(2, name=name),
    }[kind]()
    return layer(x)


def _convolution(node: dict, x):
    if node["padding"]:
        x = layers.ZeroPadding2D(node["padding"])(x)
    shared = {
        "kernel_size": node["kernel"],
        "strides": node["stride"],
        "use_bias": node["bias"],
        "name": node["name"],
    }
    if node["groups"] > 1:
        return layers.DepthwiseConv2D(**shared)(x)
    return layers.Conv2D(node["out_channels"], **shared)(x)
