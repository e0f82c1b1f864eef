"""What `peers.py` measures in Keras: our nets and those of other packages.

`build(work, program, settings)` returns a compiled model.
"""

import math
import os
import tempfile

import keras
from keras import layers

import tfdeep

STAGES = {"filters": [64, 128, 256, 512], "blocks": [3, 4, 6, 3]}


def ready() -> None:
    """Start what the backend starts at its first operation."""
    keras.ops.convert_to_numpy(keras.ops.ones(1) + 1.0)


def build(work: str, program: str, settings: dict):
    model = WORKS[work](program, settings)
    model.compile(
        keras.optimizers.SGD(0.01, momentum=0.9),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    return model


def training_step(model, images, labels):
    return lambda: model.train_on_batch(images, labels)


def parameters(model) -> int:
    return sum(math.prod(weight.shape) for weight in model.trainable_weights)


def saved_mib(model) -> float:
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "model.keras")
        model.save(path)
        return os.path.getsize(path) / 2**20


def image_net(name: str, ours):
    """A net of the ImageNet form, ours or that of a package."""

    def make(program, settings):
        shape = tuple(settings["shape"])
        if program.startswith("tfdeep"):
            return ours(
                form="imagenet",
                input_shape=shape,
                classifier_activation=None,
                weight_decay=0.0,  # The peers' nets have none.
                recompute="recompute" in program,
            )
        if program == "keras.applications":
            peer = getattr(keras.applications, name)
            return peer(
                weights=None, input_shape=shape, classifier_activation=None
            )
        return from_hub(name, shape)

    return make


def from_hub(name: str, shape):
    import keras_hub

    if name == "ResNet50":
        backbone = keras_hub.models.ResNetBackbone(
            [64],
            [7],
            STAGES["filters"],
            STAGES["blocks"],
            [1, 2, 2, 2],
            "bottleneck_block",
            image_shape=shape,
        )
    else:
        backbone = keras_hub.models.DenseNetBackbone(
            [6, 12, 24, 16], image_shape=shape
        )
    x = layers.GlobalAveragePooling2D()(backbone.output)
    return keras.Model(backbone.input, layers.Dense(1000)(x))


def without_recomputation(net):
    """A family that has nothing to recompute."""

    def make(recompute, **settings):
        return net(**settings)

    return make


def residual_blocks(dropped):
    """x + drop(f(x)), f of normalization, ReLU and a convolution."""

    def make(program, settings):
        x = inputs = keras.Input(settings["shape"])
        for _ in range(settings["blocks"]):
            x = dropped(program, branch(x.shape), x)
        return keras.Model(inputs, head(x))

    return make


def branch(shape):
    return keras.Sequential(
        [
            keras.Input(shape[1:]),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.Conv2D(shape[-1], 3, padding="same", use_bias=False),
        ]
    )


def per_sample(program, f, x):
    if program == "tfdeep":
        return x + tfdeep.layers.DropPath(0.2)(f(x))
    return x + layers.Dropout(0.2, noise_shape=(None, 1, 1, 1))(f(x))


def per_batch(program, f, x):
    return tfdeep.layers.StochasticDepth(f, 0.5)(x, x)


def head(x):
    return layers.Dense(10)(layers.GlobalAveragePooling2D()(x))


class Convolutions(layers.Layer):
    """x + f(x), f of two convolutions after ReLUs."""

    def build(self, input_shape):
        channels = input_shape[-1]
        self.convolutions = [
            layers.Conv2D(channels, 3, padding="same") for _ in range(2)
        ]
        for convolution in self.convolutions:
            convolution.build(input_shape)

    def call(self, inputs):
        x = inputs
        for convolution in self.convolutions:
            x = convolution(keras.ops.relu(x))
        return inputs + x

    def compute_output_shape(self, input_shape):
        return input_shape


class Coupling(layers.Layer):
    """y1 = x1 + f(x2), y2 = x2 + g(y1), of a half of the channels each."""

    def build(self, input_shape):
        half = (*input_shape[:-1], input_shape[-1] // 2)
        self.f = layers.Conv2D(half[-1], 3, padding="same")
        self.g = layers.Conv2D(half[-1], 3, padding="same")
        self.f.build(half)
        self.g.build(half)

    def call(self, inputs):
        x1, x2 = keras.ops.split(inputs, 2, axis=-1)
        y1 = x1 + self.f(keras.ops.relu(x2))
        y2 = x2 + self.g(keras.ops.relu(y1))
        return keras.ops.concatenate([y1, y2], axis=-1)

    def compute_output_shape(self, input_shape):
        return input_shape


class Recomputed(layers.Layer):
    """A block whose inner values are computed again, by a function for it."""

    def __init__(self, block, recompute):
        super().__init__()
        self.block, self.recompute = block, recompute

    def build(self, input_shape):
        self.block.build(input_shape)

    def call(self, inputs):
        return self.recompute(self.block)(inputs)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {"block": self.block, "recompute": None}


def recomputed_blocks(kind):
    """Equal blocks in a row, of which the backward pass keeps the inputs."""

    def make(program, settings):
        x = inputs = keras.Input(settings["shape"])
        count = settings["blocks"]
        if program.startswith("tfdeep"):
            recompute = "recompute" in program
            x = tfdeep.layers.Repeat(kind(), count, recompute=recompute)(x)
            return keras.Model(inputs, head(x))
        for _ in range(count):
            block = kind()
            if program != "Keras, nothing recomputed":
                block = Recomputed(block, recomputation(program))
            x = block(x)
        return keras.Model(inputs, head(x))

    return make


def recomputation(program):
    if program == "keras.remat":
        return keras.remat
    import tensorflow as tf

    return tf.recompute_grad


WORKS = {
    "ResNet-50": image_net(
        "ResNet50",
        without_recomputation(lambda **s: tfdeep.models.ResNet(50, **s)),
    ),
    "DenseNet-121": image_net(
        "DenseNet121", lambda **s: tfdeep.models.DenseNet(121, **s)
    ),
    "ResNeXt-50, 32x4d": image_net(
        "",
        without_recomputation(
            lambda **s: tfdeep.models.ResNeXt(50, 32, 4, **s)
        ),
    ),
    "DenseNet-121, recomputed": image_net(
        "", lambda **s: tfdeep.models.DenseNet(121, **s)
    ),
    "blocks dropped per sample": residual_blocks(per_sample),
    "blocks dropped per batch": residual_blocks(per_batch),
    "residual blocks, recomputed": recomputed_blocks(Convolutions),
    "coupling blocks, recomputed": recomputed_blocks(Coupling),
}
