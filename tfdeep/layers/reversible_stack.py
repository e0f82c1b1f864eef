"""Any blocks in a row, whose inputs are computed back instead of kept."""

import json

import keras
from keras import ops

from tfdeep import backend
from tfdeep.checks import check_choice
from tfdeep.inside import without_names
from tfdeep.keras_internals import layers_of
from tfdeep.layers.coupling import Additive, Momentum, check_gamma
from tfdeep.layers.held import call_arguments, hands_on_masks
from tfdeep.layers.repeatable import (
    check_kept,
    check_losses,
    check_python_state,
    python_state,
)
from tfdeep.layers.reversible import like, scanned, unrolled
from tfdeep.layers.reversible_layer import HALVES, ReversibleLayer
from tfdeep.masks import mask_of, with_mask

COUPLINGS = ("momentum", "additive")


@keras.saving.register_keras_serializable(package="tfdeep")
class ReversibleStack(ReversibleLayer):
    """A residual chain of blocks that keeps no activations of the blocks.

    Use it where memory for activations limits the depth. Blocks are layers or
    models of any content that keep the shape of their input: convolutions,
    attention, capsules, batch normalization, dropout. They are the *branches*
    of a residual net; the skip connection is added here:

        momentum    v <- gamma v + (1 - gamma) f(x),  x <- x + v,  v_0 = 0
        additive    (a, b) <- (b, a + f(b)),  a and b halves of an axis

    The backward pass undoes the blocks one by one and computes each again.
    Gradients, batch statistics and dropout masks are those of plain
    backpropagation, which `recompute=False` is; the time of a step grows by
    one forward pass of the blocks.

    Blocks of equal configuration run as one loop over their stacked weights:
    memory and the program hardly grow with their number. Different
    blocks are traced one by one; XLA on a CPU then keeps what is inside
    momentum blocks. Convolutions in a loop are slow with XLA on a CPU.

    What runs between blocks is kept in twice the digits of float32 where it
    is going to be undone, and blocks get it as float32, under mixed precision
    too. Do not use it where blocks are few or their insides small: a plain
    chain is faster.

    Reference:
        Sander et al., "Momentum Residual Neural Networks", 2021, eq. 2 and 3;
        Gomez et al., "The Reversible Residual Network", 2017, eq. 6 to 8.
        Deviations: momentum is kept together with x every few blocks, and
        in more digits, as errors grow with every block that is undone; each
        function of a RevNet's pair is a block of its own.

    Args:
        blocks: list of Keras layers, each once.
        coupling: `"momentum"` or `"additive"`. Additive blocks see half of
            the channels.
        gamma: float in (0, 1], or [0, 1] with `recompute=False`; 0 is the
            plain residual net. Of momentum only.
        checkpoint_every: positive integer, after how many blocks the pair is
            kept; `None`, at the end alone; `"auto"`, as seldom as the
            gradient's relative error stays below 1e-4, which gamma, dtype
            and depth decide. In half precision the blocks' own rounding
            comes on top.
        recompute: boolean, whether to undo blocks in the backward pass.
        axis: integer, which axis additive coupling halves.
        **kwargs: `name`, `dtype` and further arguments of a Keras layer.

    Call arguments:
        inputs: tensor of floating-point numbers, the batch first.
        mask: optional mask, handed to the blocks that take one.
        training: boolean, handed to the blocks.

    Input shape:
        That of the blocks; with additive coupling an even size along `axis`.

    Output shape:
        That of the input.

    Raises:
        TypeError: if `blocks` is no list of layers.
        ValueError: on arguments outside these ranges; for a block that
            changes the shape, comes twice, adds losses, updates metrics or
            keeps state in Python attributes; for integer or ragged inputs;
            if the gradient would be inaccurate.

    Example:
        >>> import keras, numpy as np, tfdeep
        >>> blocks = [keras.layers.Dense(4, "tanh") for _ in range(50)]
        >>> stack = tfdeep.layers.ReversibleStack(blocks)
        >>> tuple(stack(np.ones((2, 4))).shape), stack.count_params()
        ((2, 4), 1000)
    """

    def __init__(
        self,
        blocks,
        coupling: str = "momentum",
        gamma: float = 0.9,
        checkpoint_every: int | str | None = "auto",
        recompute: bool = True,
        axis: int = -1,
        **kwargs,
    ):
        check_blocks(blocks)
        check_choice("coupling", coupling, COUPLINGS)
        kwargs.setdefault("dtype", blocks[0].dtype_policy)
        super().__init__(gamma, checkpoint_every, recompute, **kwargs)
        check_gamma(gamma, recompute and coupling == "momentum")
        self.blocks = list(blocks)
        self.coupling = coupling
        self.axis = axis
        self.supports_masking = all(map(hands_on_masks, blocks))
        halves = [b.compute_dtype for b in blocks if b.compute_dtype in HALVES]
        self.every = self.blocks_kept(
            1 if coupling == "additive" else gamma,
            len(blocks),
            halves[0] if halves else self.compute_dtype,
        )

    def pairing(self, training=False):
        """The coupling of the blocks: `Momentum` or `Additive`."""
        kept = self.kept(training)
        if self.coupling == "momentum":
            return Momentum(self.gamma, kept)
        return Additive(self.axis, len(self.blocks), kept)

    def build(self, input_shape):
        if self.built:
            return
        shape = list(input_shape)
        if self.coupling == "additive":
            shape[self.axis] = _half(shape, self.axis)
        for block in self.blocks:
            inputs = keras.KerasTensor(tuple(shape), block.compute_dtype)
            outputs = block(inputs, training=True)
            if keras.backend.is_float_dtype(getattr(outputs, "dtype", "")):
                # Cast to that of the stream, whatever it is.
                inputs = keras.KerasTensor(inputs.shape, outputs.dtype)
            check_kept(block, outputs, inputs, "ReversibleStack")

    def call(self, inputs, mask=None, training=None):
        coupling = self.pairing(training)
        shared = [] if mask is None else [mask]
        x = self.stream(inputs)
        values = [backend.read_variables(block) for block in self.blocks]
        weights, states = ([value[i] for value in values] for i in (0, 1))
        every = self.every if training else None
        masked: list[bool] = []
        run = self._scan if alike(self.blocks) else self._unroll
        y, states = run(
            coupling, x, weights, states, shared, every, training, masked
        )
        if training:
            for block, state in zip(self.blocks, states, strict=True):
                backend.write_variables(block, state)
        y = ops.cast(y, self.compute_dtype)
        return with_mask(y, mask) if all(masked) else y

    def compute_mask(self, inputs, previous_mask):
        return None  # It is on the outputs, if all blocks hand it on.

    def _unroll(
        self, coupling, x, weights, states, shared, every, training, masked
    ):
        calls = [self._function(b, training, masked) for b in self.blocks]
        return unrolled(calls, coupling, x, weights, states, shared, every)

    def _scan(
        self, coupling, x, weights, states, shared, every, training, masked
    ):
        call = self._function(self.blocks[0], training, masked)
        if training:
            call = backend.as_step(call)
        before = python_state(self.blocks[0])
        y, new = scanned(
            call, coupling, x, _stack(weights), _stack(states), shared, every
        )
        check_python_state(before, python_state(self.blocks[0]))
        columns = [ops.unstack(x, num=len(self.blocks)) for x in new]
        rows = [x for row in zip(*columns, strict=True) for x in row]
        return y, like(states, rows)

    def _function(self, block, training, masked):
        """The block as a function of tensors alone.

        Args:
            block: a built layer.
            training: boolean.
            masked: list that is added to, whether a mask is handed on.
        """

        def call(x, weights, state, shared):
            mask = shared[0] if shared else None
            y, new, losses = backend.stateless_call(
                block,
                weights,
                state,
                with_mask(x, mask),
                **call_arguments(block, mask, training),
            )
            masked.append(mask_of(y) is not None)
            check_losses(block, losses, "ReversibleStack")
            return ops.cast(y, self.stream_dtype), new

        return call

    def inner_parts(self) -> list:
        """The layers within, each with how often it is repeated."""
        return [(block, 1) for block in self.blocks]

    def get_config(self):
        return {
            **super().get_config(),
            "blocks": [
                keras.saving.serialize_keras_object(b) for b in self.blocks
            ],
            "coupling": self.coupling,
            "axis": self.axis,
        }

    @classmethod
    def from_config(cls, config):
        blocks = [
            keras.saving.deserialize_keras_object(b)
            for b in config.pop("blocks")
        ]
        return cls(blocks, **config)


def check_blocks(blocks) -> None:
    """Raise an error unless `blocks` is a list of layers, each once."""
    listed = isinstance(blocks, (list, tuple)) and len(blocks) > 0
    if not listed or not all(isinstance(b, keras.Layer) for b in blocks):
        raise TypeError(
            "`blocks` must be a list of at least one Keras layer. Received: "
            f"blocks={blocks!r}. Pass for example [keras.layers.Dense(8)]."
        )
    if len({id(block) for block in blocks}) < len(blocks):
        raise ValueError(
            "`blocks` must be different layers, each with weights and a "
            "state of its own. Received: the same layer twice. Pass a new "
            "layer for each, made from `get_config` if they shall be equal."
        )


def _half(shape, axis):
    size = shape[axis]
    if size is None or size % 2:
        raise ValueError(
            "The input of ReversibleStack must have a known and even size on "
            f"axis {axis}, which additive coupling halves. Received: shape "
            f"{tuple(shape)}. Change the number of channels, or use "
            "coupling='momentum'."
        )
    return size // 2


def alike(blocks) -> bool:
    """Whether blocks differ in names, seeds and values alone."""
    first = blocks[0]
    if len(blocks) < 2 or not first.variables:
        return False
    return all(_traits(block) == _traits(first) for block in blocks[1:])


def _traits(block):
    try:
        config = json.dumps(without_names(block.get_config()), default=str)
    except NotImplementedError:
        return id(block)  # Like no other.
    attributes = {
        (index, name): value
        for (index, _, name), value in python_state(block).items()
        if name not in ("name", "seed")
    }
    kinds = [(tuple(v.shape), v.dtype, v.trainable) for v in block.variables]
    trains = [part.trainable for part in layers_of(block)]
    return type(block), config, attributes, kinds, trains


def _stack(rows):
    """One tensor per column: lists of blocks' tensors, stacked."""
    return [ops.stack(column) for column in zip(*rows, strict=True)]
