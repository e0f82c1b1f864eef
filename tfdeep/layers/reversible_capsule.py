"""The residual capsule blocks of momentum capsule networks, as one layer."""

import keras
from keras import ops

from tfdeep.checks import check_choice, check_positive, check_seed
from tfdeep.layers.coupling import Momentum, check_gamma
from tfdeep.layers.reversible import scanned
from tfdeep.layers.reversible_layer import ReversibleLayer
from tfdeep.layers.routing_capsules import (
    ROUTINGS,
    SDA_BIAS,
    RoutingCapsules,
    check_capsules,
    initializer_of,
    route,
)
from tfdeep.layers.stacked import StackedInitializer, fold_seed

LAYERS = 2  # Routing layers of a block.
VERSIONS = (1, 2)


@keras.saving.register_keras_serializable(package="tfdeep")
class ReversibleCapsule(ReversibleLayer):
    """Residual blocks of capsules, whose memory hardly grows with depth.

    Use it between two `RoutingCapsules`, or as `models.MomentumCapsNet` does.
    A block is two routing layers, each of them a residual step of its own:
    `num_blocks` blocks are a chain of 2 `num_blocks` steps f, coupled by
    momentum,

        v <- gamma v + (1 - gamma) f(x),    x <- x + v,    v_0 = 0

    which are undone one by one in the backward pass. The weights of all steps
    are stacked along a first axis and the program loops over them: neither
    memory for activations nor the time to compile grows with `num_blocks`.
    Plain chains of routing layers die out after a few, and so does a skip
    connection around two: a layer squashes the square of a short vector. The
    skip connection around each is what makes them deep.

    `gamma=0, recompute=False` is the plain residual net.

    A model that was saved when there was one skip connection around the two
    layers of a block loads as it was: a configuration without `version` is
    of version 1.

    Reference:
        Gugglberger et al., "Momentum Capsule Networks", 2022, section 3.
        Deviations from their code: no further skip connection around a
        block; momentum runs through all blocks, where the code begins anew
        in each. Both are kept every few layers, see `ReversibleStack`.

    Args:
        num_capsules: positive integer, the number of capsules.
        capsule_dim: positive integer, the size of each.
        num_blocks: positive integer, the number of blocks of two layers.
        num_routing: positive integer, the number of routing steps.
        gamma: float in (0, 1], or [0, 1] with `recompute=False`.
        routing: `"dynamic"` or `"sda"`.
        checkpoint_every: as of `ReversibleStack`, whose blocks are the routing
            layers here.
        recompute: boolean, whether to undo layers in the backward pass.
        kernel_initializer: a Keras initializer, of each routing layer by
            itself; a normal law of deviation 0.01 by default.
        seed: optional integer, of the default initializer.
        version: 2, or 1 for one skip connection around the two layers of a
            block, which with kernels of deviation 0.01 learns nothing: for
            files of that time alone.
        **kwargs: `name`, `dtype` and further arguments of a Keras layer.

    Call arguments:
        inputs: tensor of capsules.
        training: boolean, whether the backward pass has to be prepared for.

    Input shape:
        `(batch, num_capsules, capsule_dim)`.

    Output shape:
        That of the input.

    Raises:
        ValueError: on arguments outside these ranges, or other inputs.

    Example:
        >>> import numpy as np, tfdeep
        >>> layer = tfdeep.ReversibleCapsule(32, 8, num_blocks=20)
        >>> tuple(layer(np.ones((2, 32, 8))).shape)
        (2, 32, 8)
        >>> [tuple(weight.shape) for weight in layer.weights]
        [(40, 32, 32, 8, 8)]
    """

    def __init__(
        self,
        num_capsules: int,
        capsule_dim: int,
        num_blocks: int,
        num_routing: int = 3,
        gamma: float = 0.9,
        routing: str = "dynamic",
        checkpoint_every: int | str | None = "auto",
        recompute: bool = True,
        kernel_initializer=None,
        seed: int | None = None,
        version: int = 2,
        **kwargs,
    ):
        super().__init__(gamma, checkpoint_every, recompute, **kwargs)
        check_positive("num_capsules", num_capsules)
        check_positive("capsule_dim", capsule_dim)
        check_positive("num_blocks", num_blocks)
        check_positive("num_routing", num_routing)
        check_choice("routing", routing, ROUTINGS)
        check_gamma(gamma, recompute)
        check_seed(seed)
        check_choice("version", version, VERSIONS)
        self.version = version
        self.num_capsules = num_capsules
        self.capsule_dim = capsule_dim
        self.num_blocks = num_blocks
        self.num_routing = num_routing
        self.routing = routing
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.seed = seed
        self.every = self.blocks_kept(gamma, self.num_steps)

    @property
    def kernel_names(self) -> tuple[str, ...]:
        """The kernels of a step, one for each routing layer in it."""
        return ("kernel_1", "kernel_2") if self.version == 1 else ("kernel",)

    @property
    def bias_names(self) -> tuple[str, ...]:
        """The biases of a step, of routing `"sda"`."""
        return ("bias_1", "bias_2") if self.version == 1 else ("bias",)

    @property
    def num_steps(self) -> int:
        """The number of residual steps, each with its skip connection."""
        return LAYERS * self.num_blocks // len(self.kernel_names)

    @property
    def stacks(self) -> list:
        """The weights, stacked by step, kernels before biases."""
        biases = self.bias_names if self.routing == "sda" else ()
        names = self.kernel_names + biases
        return [getattr(self, name) for name in names]

    def pairing(self, training=False):
        """The coupling of the steps."""
        return Momentum(self.gamma, self.kept(training))

    def build(self, input_shape):
        if self.built:
            return
        check_capsules(self, input_shape)
        own = (self.num_capsules, self.capsule_dim)
        if tuple(input_shape[1:]) != own:
            raise ValueError(
                f"The input of ReversibleCapsule must be {own[0]} capsules of "
                f"size {own[1]}, which its blocks keep. Received: shape "
                f"{tuple(input_shape)}. Put RoutingCapsules{own} before it."
            )
        square = (own[0], own[0], own[1], own[1])
        for number, name in enumerate(self.kernel_names):
            seed = self.seed
            seed = seed if seed is None else fold_seed(seed, 2**20 + number)
            given = self.kernel_initializer
            self._add(name, square, initializer_of(given, seed))
        if self.routing == "sda":
            for name in self.bias_names:
                self._add(name, own, keras.initializers.Constant(SDA_BIAS))

    def _add(self, name, shape, initializer):
        weight = self.add_weight(
            name=name,
            shape=(self.num_steps, *shape),
            initializer=StackedInitializer(initializer),
            autocast=False,
        )
        setattr(self, name, weight)

    def call(self, inputs, training=None):
        y, _ = scanned(
            self._step,
            self.pairing(training),
            self.stream(inputs),
            [ops.convert_to_tensor(v.value) for v in self.stacks],
            [],
            [],
            self.every if training else None,
        )
        return ops.cast(y, self.compute_dtype)

    def _step(self, x, weights, state, shared):
        """f(x): the routing layers of a step, one after the other."""
        x = ops.cast(x, self.compute_dtype)
        weights = [ops.cast(w, self.compute_dtype) for w in weights]
        count = len(self.kernel_names)
        kernels = weights[:count]
        biases = weights[count:] or [None] * count
        for kernel, bias in zip(kernels, biases, strict=True):
            x = route(x, kernel, bias, self.num_routing)
        return ops.cast(x, self.stream_dtype), state

    def copies(self) -> list[list]:
        """The steps as plain layers with the weights as they are now.

        Returns:
            A list of steps; each a list of built `RoutingCapsules`, of which
            the first gets x and the last returns f(x).
        """
        values = [ops.convert_to_numpy(stack) for stack in self.stacks]
        count = len(self.kernel_names)
        return [
            [
                self._copy(index, number, values[number::count])
                for number in range(count)
            ]
            for index in range(self.num_steps)
        ]

    def _copy(self, index, number, values):
        layer = RoutingCapsules(
            self.num_capsules,
            self.capsule_dim,
            self.num_routing,
            self.routing,
            dtype=self.dtype_policy,
            name=f"{self.name}_{index + 1}_{number + 1}",
        )
        layer.build((None, self.num_capsules, self.capsule_dim))
        layer.set_weights([value[index] for value in values])
        layer.trainable = self.trainable
        return layer

    @classmethod
    def from_config(cls, config):
        return super().from_config({"version": 1, **config})

    def get_config(self):
        return {
            **super().get_config(),
            "version": self.version,
            "num_capsules": self.num_capsules,
            "capsule_dim": self.capsule_dim,
            "num_blocks": self.num_blocks,
            "num_routing": self.num_routing,
            "routing": self.routing,
            "kernel_initializer": keras.initializers.serialize(
                self.kernel_initializer
            ),
            "seed": self.seed,
        }
