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

KERNELS = ("kernel_1", "kernel_2")
BIASES = ("bias_1", "bias_2")


@keras.saving.register_keras_serializable(package="tfdeep")
class ReversibleCapsule(ReversibleLayer):
    """Residual blocks of capsules, whose memory hardly grows with depth.

    Use it between two `RoutingCapsules`, or as `models.MomentumCapsNet` does.
    A block f is two routing layers; blocks are coupled by momentum,

        v <- gamma v + (1 - gamma) f(x),    x <- x + v,    v_0 = 0

    and are undone one by one in the backward pass. The weights of all blocks
    are stacked along a first axis and the program loops over them: neither
    memory for activations nor the time to compile grows with `num_blocks`.
    Plain chains of routing layers die out after a few; the skip connection
    is what makes them deep.

    `gamma=0, recompute=False` is the plain residual net.

    Reference:
        Gugglberger et al., "Momentum Capsule Networks", 2022, section 3.
        Deviations from their code: one skip connection, as in the paper,
        where the code adds a second around each block; momentum runs through
        all blocks, where the code begins anew in each. Both are kept every
        few blocks, see `ReversibleStack`.

    Args:
        num_capsules: positive integer, the number of capsules.
        capsule_dim: positive integer, the size of each.
        num_blocks: positive integer, the number of blocks.
        num_routing: positive integer, the number of routing steps.
        gamma: float in (0, 1], or [0, 1] with `recompute=False`.
        routing: `"dynamic"` or `"sda"`.
        checkpoint_every: as of `ReversibleStack`.
        recompute: boolean, whether to undo blocks in the backward pass.
        kernel_initializer: a Keras initializer, of each block by itself; a
            normal law of deviation 0.01 by default.
        seed: optional integer, of the default initializer.
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
        [(20, 32, 32, 8, 8), (20, 32, 32, 8, 8)]
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
        self.num_capsules = num_capsules
        self.capsule_dim = capsule_dim
        self.num_blocks = num_blocks
        self.num_routing = num_routing
        self.routing = routing
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.seed = seed
        self.every = self.blocks_kept(gamma, num_blocks)

    @property
    def stacks(self) -> list:
        """The stacked weights, kernels before biases."""
        names = KERNELS + (BIASES if self.routing == "sda" else ())
        return [getattr(self, name) for name in names]

    def pairing(self, training=False):
        """The coupling of the blocks."""
        return Momentum(self.gamma, self.kept(training))

    def build(self, input_shape):
        if self.built:
            return
        check_capsules(self, input_shape)
        own = (self.num_capsules, self.capsule_dim)
        if tuple(input_shape[1:]) != own:
            raise ValueError(
                f"ReversibleCapsule came with an input of shape "
                f"{tuple(input_shape)}. Its blocks keep {own[0]} capsules of "
                f"size {own[1]}. Put RoutingCapsules{own} before it."
            )
        square = (own[0], own[0], own[1], own[1])
        for number, name in enumerate(KERNELS):
            seed = self.seed
            seed = seed if seed is None else fold_seed(seed, 2**20 + number)
            given = self.kernel_initializer
            self._add(name, square, initializer_of(given, seed))
        if self.routing == "sda":
            for name in BIASES:
                self._add(name, own, keras.initializers.Constant(SDA_BIAS))

    def _add(self, name, shape, initializer):
        weight = self.add_weight(
            name=name,
            shape=(self.num_blocks, *shape),
            initializer=StackedInitializer(initializer),
            autocast=False,
        )
        setattr(self, name, weight)

    def call(self, inputs, training=None):
        y, _ = scanned(
            self._block,
            self.pairing(training),
            self.stream(inputs),
            [ops.convert_to_tensor(v.value) for v in self.stacks],
            [],
            [],
            self.every if training else None,
        )
        return ops.cast(y, self.compute_dtype)

    def _block(self, x, weights, state, shared):
        """f(x): one routing layer after the other."""
        x = ops.cast(x, self.compute_dtype)
        weights = [ops.cast(w, self.compute_dtype) for w in weights]
        kernels, biases = weights[:2], weights[2:] or (None, None)
        for kernel, bias in zip(kernels, biases, strict=True):
            x = route(x, kernel, bias, self.num_routing)
        return ops.cast(x, self.stream_dtype), state

    def copies(self) -> list[list]:
        """The blocks as plain layers with the weights as they are now.

        Returns:
            A list with two built `RoutingCapsules` per block.
        """
        values = [ops.convert_to_numpy(stack) for stack in self.stacks]
        blocks = []
        for index in range(self.num_blocks):
            block = []
            for number in (0, 1):
                layer = RoutingCapsules(
                    self.num_capsules,
                    self.capsule_dim,
                    self.num_routing,
                    self.routing,
                    dtype=self.dtype_policy,
                    name=f"{self.name}_{index + 1}_{number + 1}",
                )
                layer.build((None, self.num_capsules, self.capsule_dim))
                layer.set_weights([v[index] for v in values[number::2]])
                layer.trainable = self.trainable
                block.append(layer)
            blocks.append(block)
        return blocks

    def get_config(self):
        return {
            **super().get_config(),
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
