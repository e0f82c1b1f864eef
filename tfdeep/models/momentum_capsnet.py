"""Capsule networks, deepened by reversible residual blocks of capsules."""

import math

import keras
from keras import layers

from tfdeep.checks import check_positive, check_seed, check_whole
from tfdeep.layers import (
    CapsuleLength,
    CapsuleMask,
    PrimaryCapsules,
    ReversibleCapsule,
    RoutingCapsules,
)
from tfdeep.layers.units import seed_stream

DECODER = (512, 1024)  # Units of the decoder's hidden layers.
CLASS_DIM = 16
SHARE = 0.5  # Of capsules' length, in the sums of votes at the start.


def MomentumCapsNet(
    num_blocks: int,
    input_shape=(28, 28, 1),
    classes: int = 10,
    decoder: bool = True,
    filters: int = 256,
    num_capsules: int = 32,
    capsule_dim: int = 8,
    num_routing: int = 3,
    kernel_size: int = 9,
    seed: int | None = None,
    name: str | None = None,
    **blocks,
) -> keras.Model:
    """Momentum capsule network of Gugglberger et al., or plain CapsNet.

    A convolution, primary capsules, routing to `num_capsules` capsules,
    `num_blocks` blocks of two residual routing layers whose activations are
    not kept, and a capsule for each class, whose length says whether it is
    there. `num_blocks=0` leaves the blocks and the routing before them out:
    the CapsNet of Sabour et al.

    With the decoder the model takes an image and its label and returns the
    lengths and the image drawn anew from one class capsule: in training that
    of the label, otherwise the longest. The label may be left out.

        model = tfdeep.models.MomentumCapsNet(5)
        model.compile(
            "adam",
            loss={
                "length": tfdeep.losses.MarginLoss(),
                "reconstruction": "mse",
            },
            # 0.0005 times the sum of squares, as in the papers.
            loss_weights={"length": 1, "reconstruction": 0.0005 * 784},
            metrics={"length": "accuracy"},
        )
        model.fit(
            {"image": x, "label": y}, {"length": y, "reconstruction": x}
        )
        classify = tfdeep.models.capsule_classifier(model)

    Reference:
        Gugglberger et al., "Momentum Capsule Networks", 2022, section 4;
        Sabour et al., "Dynamic Routing Between Capsules", 2017, section 4.
        Deviations are those of `PrimaryCapsules`, `ReversibleCapsule` and
        `CapsuleMask`, and the start. Convolutions begin as in the authors'
        code, with kernels and biases of U(-1 / sqrt(fan_in), 1 /
        sqrt(fan_in)). Routing kernels begin with a normal law of deviation
        n / (2 sqrt(m d)), from m capsules of size d to n, where theirs is
        0.01 throughout: entries of a sum of votes then have half the
        deviation of those of the capsules below. From 0.01, lengths of
        classes are 1e-13, and Keras' Adam, on a loss averaged over the
        batch, moves nothing.
        Parameters on 28x28x1: 9,272,336 with one block, and 131,072 for each
        further one; without the decoder 1,411,344 less.

    Args:
        num_blocks: integer from 0, the number of residual blocks.
        input_shape: `(height, width, channels)`, sizes known.
        classes: integer, the number of classes.
        decoder: boolean, whether the image is drawn anew.
        filters: integer, of the convolution and of the primary capsules.
        num_capsules: integer, the capsules of each routing layer.
        capsule_dim: integer, their size, also that of primary capsules.
        num_routing: integer, the number of routing steps.
        kernel_size: integer, of the two convolutions; less for images of
            fewer than 17 pixels a side.
        seed: optional integer for initial weights.
        name: optional name of the model.
        **blocks: `gamma` (0.9), `routing` ("dynamic"), `checkpoint_every`
            ("auto") and `recompute` (True) of
            `tfdeep.layers.ReversibleCapsule`; `routing` and
            `kernel_initializer` (see above) of every routing layer.

    Returns:
        A Functional `keras.Model`, uncompiled, with the outputs `"length"`
        and, with the decoder, `"reconstruction"`.

    Raises:
        ValueError: on arguments outside these ranges, or too small images.

    Example:
        >>> import tfdeep
        >>> tfdeep.models.MomentumCapsNet(1).count_params()
        9272336
    """
    check_whole("num_blocks", num_blocks)
    if num_blocks:
        check_positive("num_blocks", num_blocks)
    check_positive("classes", classes)
    check_positive("filters", filters)
    check_positive("kernel_size", kernel_size)
    check_seed(seed)
    seeds = seed_stream(seed)
    given = blocks.pop("kernel_initializer", None)
    routing = {key: blocks[key] for key in ("routing",) if key in blocks}
    routing["num_routing"] = num_routing

    def glorot():
        return keras.initializers.GlorotUniform(next(seeds))

    def start(channels):
        return _uniform(kernel_size**2 * channels, seeds)

    def kernel(x, count):
        return _routed(x, count, given, next(seeds))

    inputs = keras.Input(_checked(input_shape, kernel_size), name="image")
    x = layers.Conv2D(
        filters,
        kernel_size,
        activation="relu",
        name="conv",
        **start(inputs.shape[-1]),
    )(inputs)
    x = PrimaryCapsules(
        filters,
        capsule_dim,
        kernel_size,
        name="primary",
        **start(filters),
    )(x)
    if num_blocks:
        x = RoutingCapsules(
            num_capsules,
            capsule_dim,
            kernel_initializer=kernel(x, num_capsules),
            name="hidden",
            **routing,
        )(x)
        x = ReversibleCapsule(
            num_capsules,
            capsule_dim,
            num_blocks,
            num_routing,
            kernel_initializer=kernel(x, num_capsules),
            name="blocks",
            **blocks,
        )(x)
    x = RoutingCapsules(
        classes,
        CLASS_DIM,
        kernel_initializer=kernel(x, classes),
        name="classes",
        **routing,
    )(x)
    # Half precision is too coarse for the margins: end in float32.
    length = CapsuleLength(dtype="float32", name="length")(x)
    name = name or f"momentum_capsnet_{num_blocks}"
    if not decoder:
        return keras.Model(inputs, length, name=name)
    label = keras.Input((), dtype="int32", optional=True, name="label")
    drawn = _decoder(CapsuleMask(name="mask")(x, label), inputs.shape, glorot)
    return keras.Model(
        {"image": inputs, "label": label},
        {"length": length, "reconstruction": drawn},
        name=name,
    )


def capsule_classifier(model: keras.Model) -> keras.Model:
    """The part of a `MomentumCapsNet` that takes an image alone.

    It shares the layers and weights of the model.

    Args:
        model: a model with a decoder.

    Returns:
        A model from images to the lengths of the class capsules.

    Raises:
        TypeError: if `model` is no `keras.Model`.

    Example:
        >>> import tfdeep
        >>> model = tfdeep.models.MomentumCapsNet(1, filters=8)
        >>> tuple(tfdeep.models.capsule_classifier(model).output.shape)
        (None, 10)
    """
    if not isinstance(model, keras.Model):
        raise TypeError(
            "`model` must be a MomentumCapsNet with a decoder. "
            f"Received: model={model!r}."
        )
    image = model.get_layer("image").output
    return keras.Model(image, model.get_layer("length").output)


def _uniform(fan_in, seeds):
    """The initializers of a convolution in the authors' code."""
    limit = 1 / math.sqrt(fan_in)
    return {
        f"{weight}_initializer": keras.initializers.RandomUniform(
            -limit, limit, next(seeds)
        )
        for weight in ("kernel", "bias")
    }


def _routed(x, count, given, seed):
    """The initializer that keeps a share of the length, unless one was given.

    A sum of votes for one of n capsules has the entries

        s = sum_ik W_ik u_ik / n,    var(s) = sigma^2 sum_ik u_ik^2 / n^2
    """
    if given is not None:
        return given
    _, capsules, dim = x.shape
    deviation = SHARE * count / math.sqrt(capsules * dim)
    return keras.initializers.RandomNormal(0.0, deviation, seed)


def _decoder(x, shape, initializer):
    """From the capsule of a class to pixels."""
    for number, units in enumerate(DECODER, start=1):
        x = layers.Dense(
            units,
            activation="relu",
            kernel_initializer=initializer(),
            name=f"decoder_{number}",
        )(x)
    pixels = shape[1] * shape[2] * shape[3]
    x = layers.Dense(
        pixels,
        activation="sigmoid",
        kernel_initializer=initializer(),
        dtype="float32",
        name="pixels",
    )(x)
    return layers.Reshape(
        tuple(shape[1:]), dtype="float32", name="reconstruction"
    )(x)


def _checked(input_shape, kernel_size):
    shape, least = tuple(input_shape), 2 * kernel_size - 1
    if len(shape) != 3 or None in shape or min(shape[:2]) < least:
        raise ValueError(
            "`input_shape` must be (height, width, channels) with sizes of "
            f"at least {least}, as two convolutions of "
            f"{kernel_size}x{kernel_size} follow. Received: "
            f"input_shape={shape}. Pass for example (28, 28, 1), or a smaller "
            "kernel_size."
        )
    return shape
