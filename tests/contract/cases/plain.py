"""What neutral settings are compared with, from Keras' own layers."""

import keras
from keras import layers

import tfdeep

SEED = 3


def conv(filters, kernel_size=3, seed=SEED, **kwargs):
    """A convolution as the blocks have it, but from Keras alone."""
    return layers.Conv2D(
        filters,
        kernel_size,
        padding="same",
        use_bias=False,
        kernel_initializer=keras.initializers.HeNormal(seed),
        **kwargs,
    )


def norm():
    return layers.BatchNormalization(momentum=0.9, epsilon=1e-5)


def branch(rate=0.0, dtype=None):
    """A residual branch that keeps the shape (6, 6, 4)."""
    return keras.Sequential(
        [
            conv(4, dtype=dtype),
            layers.GroupNormalization(2, dtype=dtype),
            layers.Dropout(rate, seed=SEED, dtype=dtype),
            conv(4, seed=SEED + 1, dtype=dtype),
        ]
    )


class Length(layers.Layer):
    """The Euclidean norm."""

    def call(self, x):
        return keras.ops.sqrt(keras.ops.sum(x * x, axis=-1))


class PenalizedPReLU(layers.PReLU):
    """That of Keras, with a penalty whose strength is its last weight."""

    def build(self, input_shape):
        self.alpha_regularizer = self.penalty
        super().build(input_shape)
        self.rest = [
            self.add_weight(shape=shape, trainable=False)
            for shape in (self.alpha.shape, self.alpha.shape, ())
        ]

    def penalty(self, slopes):
        distances = keras.ops.sqrt(keras.ops.abs(1.0 - slopes))
        return self.rest[-1] * keras.ops.sum(distances)


def basic_branch():
    return [conv(4), norm(), layers.ReLU(), conv(4), norm()]


def preactivated_branch():
    return [norm(), layers.ReLU(), conv(4), norm(), layers.ReLU(), conv(4)]


def bottleneck_branch():
    return [
        *[conv(2, 1), norm(), layers.ReLU(), conv(2), norm(), layers.ReLU()],
        *[conv(8, 1), norm()],
    ]


def preactivated_bottleneck_branch():
    return [
        *[norm(), layers.ReLU(), conv(2, 1), norm(), layers.ReLU(), conv(2)],
        *[norm(), layers.ReLU(), conv(8, 1)],
    ]


def head(classes=3):
    return [layers.GlobalAveragePooling2D(), layers.Dense(classes)]


def plain_resnet():
    """A plain net of depth 8, from Keras' own layers."""
    stack = [keras.Input((6, 6, 4))]
    for filters, strides in [(16, 1), *[(16, 1)] * 2]:
        stack += [conv(filters, strides=strides), norm(), layers.ReLU()]
    for filters in (32, 64):
        for strides in (2, 1):
            stack += [conv(filters, strides=strides), norm(), layers.ReLU()]
    return keras.Sequential([*stack, *head()])


def bottleneck_resnext():
    """A ResNeXt of one group, from bottleneck blocks."""
    blocks = [
        tfdeep.layers.BottleneckBlock(filters, strides)
        for filters, strides in [(64, 1), (128, 2), (256, 2)]
    ]
    stem = [keras.Input((6, 6, 4)), conv(64), norm(), layers.ReLU()]
    return keras.Sequential([*stem, *blocks, *head()])
