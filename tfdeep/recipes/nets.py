"""Deep nets without batch normalization, whose start decides how they train.

Activations are layers of their own, so that the output of a layer with
weights is what comes before the activation, as in the papers.
"""

import keras
from keras import layers, ops


def plain_net(shape, classes, depth, width, activation="relu", dropout=0.0):
    """A chain of convolutions; each third but the first starts with stride 2.

    Dropout, if any, ends each third.
    """
    inputs = x = keras.Input(shape)
    strides = thirds(depth)
    for here, after in zip(strides, [*strides[1:], 2], strict=True):
        x = layers.Conv2D(width, 3, here, padding="same")(x)
        x = activated(x, activation, dropout if after > 1 else 0.0)
    return classifier(inputs, x, classes)


def residual_net(shape, classes, depth, width, activation="relu", dropout=0.0):
    """Pre-activation blocks of two convolutions, nothing normalized.

    Dropout, if any, stands between the two.
    """
    inputs = keras.Input(shape)
    x = layers.Conv2D(width, 3, padding="same")(inputs)
    for strides in thirds(depth // 2):
        branch = activated(x, activation)
        branch = layers.Conv2D(width, 3, strides, padding="same")(branch)
        branch = activated(branch, activation, dropout)
        branch = layers.Conv2D(width, 3, padding="same")(branch)
        if strides > 1:
            x = layers.AveragePooling2D(strides, padding="same")(x)
        x = layers.Add()([x, branch])
    return classifier(inputs, activated(x, activation), classes)


def encoder(
    shape,
    classes,
    depth,
    width,
    activation="relu",
    dropout=0.0,
    normalize="before",
    patch=2,
    heads=4,
):
    """A transformer encoder over patches of an image.

    Layer normalization stands before each branch, or `"after"` each sum as in
    the first transformer. Dropout, if any, ends each branch.
    """

    def add(x, branch):
        y = branch(norm(x) if normalize == "before" else x)
        y = layers.Dropout(dropout)(y) if dropout else y
        x = layers.Add()([x, y])
        return norm(x) if normalize == "after" else x

    def norm(x):
        return layers.LayerNormalization()(x)

    def attention(x):
        return layers.MultiHeadAttention(heads, width // heads)(x, x)

    def feed_forward(x):
        x = activated(layers.Dense(2 * width)(x), activation)
        return layers.Dense(width)(x)

    inputs = keras.Input(shape)
    x = layers.Conv2D(width, patch, patch)(inputs)
    x = AddPositions()(layers.Reshape((-1, width))(x))
    for _ in range(depth):
        x = add(add(x, attention), feed_forward)
    x = norm(x) if normalize == "before" else x
    return classifier(inputs, x, classes)


def classifier(inputs, x, classes):
    """The mean over all positions, and the probabilities of the classes."""
    x = ops.mean(x, tuple(range(1, len(x.shape) - 1)))
    x = layers.Activation("softmax")(layers.Dense(classes)(x))
    return keras.Model(inputs, x)


def activated(x, activation, dropout=0.0):
    """The activation, and dropout after it."""
    x = layers.Activation(activation)(x)
    return layers.Dropout(dropout)(x) if dropout else x


def thirds(depth):
    """Strides of `depth` layers: 2 where the second and last third begin."""
    third = -(-depth // 3)
    return [2 if i and i % third == 0 else 1 for i in range(depth)]


class AddPositions(layers.Layer):
    """Adds a learned vector to each token; zero at the start."""

    def build(self, input_shape):
        self.positions = self.add_weight(
            shape=input_shape[1:], initializer="zeros", name="positions"
        )

    def call(self, x):
        return x + self.positions
