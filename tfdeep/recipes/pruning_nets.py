"""Small nets of the kinds that channels are removed from."""

import keras
from keras import layers

SCALE = 0.5  # Where the scales of network slimming start.


def normalized(x):
    """A batch normalization, whose scale starts small, and ReLU."""
    scale = keras.initializers.Constant(SCALE)
    x = layers.BatchNormalization(momentum=0.9, gamma_initializer=scale)(x)
    return layers.ReLU()(x)


def convolved(x, filters, size=3, strides=1):
    """A convolution as the papers start it."""
    deviation = (2 / (size * size * filters)) ** 0.5
    start = keras.initializers.RandomNormal(0.0, deviation)
    return layers.Conv2D(
        filters,
        size,
        strides,
        padding="same",
        use_bias=False,
        kernel_initializer=start,
    )(x)


def classified(inputs, x, classes):
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(classes, "softmax")(x))


def conv(shape, classes, width):
    """Four layers, two of them twice as wide."""
    x = inputs = keras.Input(shape)
    for filters, strides in ((1, 1), (1, 1), (2, 2), (2, 1)):
        x = normalized(convolved(x, filters * width, 3, strides))
    return classified(inputs, x, classes)


def pre_activation(shape, classes, width):
    """Two stages of two bottlenecks, as in the paper's ResNet-164."""
    inputs = keras.Input(shape)
    x = convolved(inputs, width)
    for stage in range(2):
        filters = width * 2**stage // 2
        for block in range(2):
            strides = 2 if stage and not block else 1
            y = convolved(normalized(x), filters, 1)
            y = convolved(normalized(y), filters, 3, strides)
            y = convolved(normalized(y), 4 * filters, 1)
            if not block:
                x = convolved(x, 4 * filters, 1, strides)
            x = layers.Add()([x, y])
    return classified(inputs, normalized(x), classes)


def dense(shape, classes, width):
    """Two blocks of four layers, as in the paper's DenseNet-40."""
    inputs = keras.Input(shape)
    x = convolved(inputs, width)
    for block in range(2):
        if block:
            x = convolved(normalized(x), x.shape[-1], 1)
            x = layers.AveragePooling2D(2)(x)
        for _ in range(4):
            new = convolved(normalized(x), width // 2)
            x = layers.Concatenate()([x, new])
    return classified(inputs, normalized(x), classes)
