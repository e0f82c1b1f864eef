"""A layer of capsules that are chosen by routing."""

import keras
from keras import ops

from tfdeep.checks import check_choice, check_positive
from tfdeep.layers.routing import dynamic_routing, sda_routing, votes

ROUTINGS = ("dynamic", "sda")
DEVIATION = 0.01  # Of the weights, as in the papers.
SDA_BIAS = 0.1


def route(u, kernel, bias, num_routing: int):
    """Capsules of the next layer; with a bias by scaled distances."""
    u_hat = votes(u, kernel)
    if bias is None:
        return dynamic_routing(u_hat, num_routing)
    return sda_routing(u_hat, u, bias, num_routing)


@keras.saving.register_keras_serializable(package="tfdeep")
class RoutingCapsules(keras.layers.Layer):
    """Capsules fully connected to those below, with routing by agreement.

    Use it after `PrimaryCapsules` or another `RoutingCapsules`. Each capsule
    below votes for each capsule here by a matrix of its own, and

        v_o = squash(sum_i c_oi W_oi u_i)

    where c is found in `num_routing` steps, see `dynamic_routing` and
    `sda_routing`. At `num_routing=1` all coefficients are equal: a linear
    layer and a squash.

    Reference:
        Sabour et al., "Dynamic Routing Between Capsules", 2017; routing "sda"
        as in Gugglberger et al., "Momentum Capsule Networks", 2022, whose
        weights begin with a normal law of deviation 0.01. Deviation: the
        bias of "sda" is trained, and begins as their constant 0.1.

    Args:
        num_capsules: positive integer, the number of capsules.
        capsule_dim: positive integer, the size of each.
        num_routing: positive integer, the number of routing steps.
        routing: `"dynamic"` or `"sda"`.
        kernel_initializer: a Keras initializer; a normal law of deviation
            0.01 by default.
        seed: optional integer, of the default initializer.
        **kwargs: `name`, `dtype` and further arguments of a Keras layer.

    Call arguments:
        inputs: tensor of capsules.

    Input shape:
        `(batch, capsules, dim)`, both known.

    Output shape:
        `(batch, num_capsules, capsule_dim)`.

    Raises:
        ValueError: on arguments outside these ranges, or inputs of another
            rank.

    Example:
        >>> import numpy as np, tfdeep
        >>> layer = tfdeep.layers.RoutingCapsules(10, 16)
        >>> tuple(layer(np.ones((2, 32, 8))).shape), layer.count_params()
        ((2, 10, 16), 40960)
    """

    def __init__(
        self,
        num_capsules: int,
        capsule_dim: int,
        num_routing: int = 3,
        routing: str = "dynamic",
        kernel_initializer=None,
        seed: int | None = None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        check_positive("num_capsules", num_capsules)
        check_positive("capsule_dim", capsule_dim)
        check_positive("num_routing", num_routing)
        check_choice("routing", routing, ROUTINGS)
        self.num_capsules = num_capsules
        self.capsule_dim = capsule_dim
        self.num_routing = num_routing
        self.routing = routing
        self.seed = seed
        self.kernel_initializer = initializer_of(kernel_initializer, seed)
        self.bias = None

    def build(self, input_shape):
        if self.built:
            return
        check_capsules(self, input_shape)
        _, count, dim = input_shape
        self.kernel = self.add_weight(
            name="kernel",
            shape=(self.num_capsules, count, self.capsule_dim, dim),
            initializer=self.kernel_initializer,
        )
        if self.routing == "sda":
            self.bias = self.add_weight(
                name="bias",
                shape=(self.num_capsules, self.capsule_dim),
                initializer=keras.initializers.Constant(SDA_BIAS),
            )

    def call(self, inputs):
        kernel = ops.convert_to_tensor(self.kernel)
        return route(inputs, kernel, self.bias, self.num_routing)

    def compute_output_shape(self, input_shape):
        return (input_shape[0], self.num_capsules, self.capsule_dim)

    def get_config(self):
        return {
            **super().get_config(),
            "num_capsules": self.num_capsules,
            "capsule_dim": self.capsule_dim,
            "num_routing": self.num_routing,
            "routing": self.routing,
            "kernel_initializer": keras.initializers.serialize(
                self.kernel_initializer
            ),
            "seed": self.seed,
        }


def initializer_of(initializer, seed: int | None):
    """The initializer that was given, or the papers'."""
    if initializer is None:
        return keras.initializers.RandomNormal(0.0, DEVIATION, seed)
    return keras.initializers.get(initializer)


def check_capsules(layer, input_shape) -> None:
    """Raise `ValueError` unless the shape is that of a batch of capsules."""
    shape = tuple(input_shape)
    if len(shape) != 3 or None in shape[1:]:
        raise ValueError(
            f"The input of {type(layer).__name__} must be capsules, (batch, "
            "number, size), of a known number and size. Received: shape "
            f"{shape}. Put PrimaryCapsules or a Reshape before it, and give "
            "the image size in the model's Input."
        )
