"""Stochastic depth: residual branches that are skipped, not masked."""

import keras
from keras import ops, tree

from tfdeep import backend
from tfdeep.checks import (
    check_boolean,
    check_no_tensor,
    check_probability,
)
from tfdeep.layers.frozen_parts import KeepsFrozenParts
from tfdeep.layers.held import (
    Shapes,
    build_held,
    call_arguments,
    is_shape,
    output_shape,
    output_shape_in_call,
    shapes_of,
)
from tfdeep.layers.seed_state import SavesSeedState


def linear_survival(num_blocks: int, last: float = 0.5) -> list[float]:
    """Survival probabilities that decay linearly with depth.

    p_l = 1 - l / L (1 - p_L) for l = 1..L: the first block is almost always
    kept, the last with probability `last` (Huang et al. 2016, eq. 4).

    Args:
        num_blocks: integer, L, the number of residual blocks.
        last: float in [0, 1], p_L.

    Returns:
        A list of `num_blocks` floats.

    Raises:
        ValueError: if `num_blocks` is negative or `last` outside [0, 1].

    Example:
        >>> import tfdeep
        >>> tfdeep.layers.linear_survival(4, last=0.5)
        [0.875, 0.75, 0.625, 0.5]
    """
    check_probability("last", last)
    if num_blocks < 0:
        raise ValueError(
            "`num_blocks` must be 0 or more. Received: "
            f"num_blocks={num_blocks}. Pass the number of residual blocks of "
            "the net."
        )
    return [
        1.0 - block / num_blocks * (1.0 - last)
        for block in range(1, num_blocks + 1)
    ]


@keras.saving.register_keras_serializable(package="tfdeep")
class StochasticDepth(KeepsFrozenParts, SavesSeedState, keras.layers.Wrapper):
    """Skips a residual branch at random while training.

    Put it around the *branch* of a residual block, not around the block:

        y = shortcut(x) + StochasticDepth(branch, survival_probability=p)(x)

    In training one draw b ~ Bernoulli(p) decides for the whole mini-batch.
    When b is 0 the branch is not computed at all, forward or backward, and
    nothing inside it moves (batch statistics, dropout seeds), so that a net
    trains in the time of its expected depth. At inference the branch always
    runs and is scaled by its survival probability:

        training:   b f(x)
        inference:  p f(x)

    With `inverted=True` a kept branch is scaled in training instead, so that
    the function at inference is that of the plain net: the form for weights
    that were trained without, and for those that will be served without.

        training:   b / p f(x)
        inference:  f(x)

    `survival_probability=1` is the plain branch. In private training
    (`tfdeep.privacy.PrivateModel`) each example has a draw of its own, and
    nothing is saved.

    On a CPU, TensorFlow with `jit_compile=True` runs convolutions inside a
    conditional by a slow path of XLA, so that there the time is *not* saved;
    without it it is. Attention in a branch is not compiled there for a last
    batch of a single example: leave it out (`drop_remainder=True`).

    Reference:
        Huang, Sun, Liu, Sedra, Weinberger, "Deep Networks with Stochastic
        Depth", 2016, eqs. 2 and 5. No deviation but for `inverted`, which is
        the "batch" mode of torchvision. (Libraries that draw per sample do
        what `tfdeep.layers.DropPath` does.)

    Args:
        layer: the branch, a Keras layer or model with one input and one
            output tensor. It may hold any stateful layer.
        survival_probability: float in [0, 1], the probability of *keeping*
            the branch. `linear_survival` gives the paper's values.
        seed: optional integer, the start of the layer's random stream. Give
            each block its own, or the blocks drop together.
        inverted: boolean, whether a kept branch is divided by its survival
            probability in training, and runs unscaled at inference.
        **kwargs: `name` and further arguments of a Keras layer.

    Call arguments:
        inputs: the branch's input tensor, the batch on its first axis.
        shortcut: optional tensor of the branch's output shape, to which the
            output is added: `layer(x, shortcut)` is `shortcut + layer(x)`
            without adding zeros when the branch is dropped.
        mask: optional mask, handed to the branch if it takes one.
        training: boolean, whether to drop.

    Input shape:
        That of the branch.

    Output shape:
        That of the branch.

    Raises:
        TypeError: if `layer` is a tensor.
        ValueError: if `survival_probability` is outside [0, 1] or the branch
            has several outputs.

    Example:
        >>> import keras, numpy as np, tfdeep
        >>> branch = keras.layers.Dense(4, kernel_initializer="ones")
        >>> layer = tfdeep.StochasticDepth(branch, 0.5, seed=0)
        >>> float(layer(np.ones((2, 3)), training=False)[0, 0])
        1.5
        >>> float(layer(np.ones((2, 3)), training=True)[0, 0]) in (0.0, 3.0)
        True
    """

    _way_out = (
        "StochasticDepth(branch, 0.5)(x) with a layer or model as the branch, "
        "or tfdeep.models.add_stochastic_depth(model) for all branches of a "
        "model"
    )

    def __init__(
        self,
        layer,
        survival_probability: float,
        seed: int | None = None,
        inverted: bool = False,
        **kwargs,
    ):
        check_no_tensor("layer", layer, self._way_out)
        check_probability("survival_probability", survival_probability)
        check_boolean("inverted", inverted)
        # Autocasting is left to the branch: its weights are read here, and
        # must be read as they are.
        if isinstance(layer, keras.layers.Layer):
            kwargs.setdefault("dtype", layer.dtype_policy)
        super().__init__(layer, autocast=False, **kwargs)
        self.survival_probability = float(survival_probability)
        self.seed = seed
        self.inverted = inverted
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.supports_masking = True

    def build(self, input_shape=None):
        build_held(self.layer, input_shape)
        shape = output_shape(self.layer, input_shape)
        self._known = Shapes(input_shape, shape)
        if not is_shape(shape):
            raise ValueError(
                f"The branch {self.layer.name!r} returns several tensors "
                f"(shapes {shape}). StochasticDepth takes a branch with one "
                "output. Wrap each branch on its own."
            )

    def call(self, inputs, shortcut=None, mask=None, training=None):
        if shortcut is not None:
            self._check_shortcut(inputs, shortcut)
        arguments = call_arguments(self.layer, mask, training)
        if training and not self._is_certain():
            return self._call_sometimes(inputs, shortcut, arguments)
        outputs = self.layer(inputs, **arguments)
        if not self._is_certain() and not self.inverted:
            outputs *= ops.cast(self.survival_probability, outputs.dtype)
        if shortcut is None:
            return outputs
        return self._cast(ops.add(shortcut, outputs))

    def _is_certain(self) -> bool:
        """Whether it never drops. (In `Repeat` the probability is a tensor.)"""
        probability = self.survival_probability
        return isinstance(probability, float) and probability == 1.0

    def _cast(self, x):
        """What is added up has one dtype, whatever the branch returns."""
        return ops.cast(x, self.compute_dtype)

    def _kept(self, x):
        """What a kept branch adds in training: f(x), or f(x) / p."""
        if not self.inverted:
            return x
        p = ops.cast(self.survival_probability, x.dtype)
        # With p = 0 none is kept, and none may be infinite.
        return x / ops.where(p > 0, p, ops.ones_like(p))

    def _draw(self):
        """b ~ Bernoulli(p)."""
        uniform = keras.random.uniform(
            (), dtype="float32", seed=self.seed_generator
        )
        return uniform < self.survival_probability

    def _check_shortcut(self, inputs, shortcut):
        """A dropped branch would hide that the two do not fit."""
        branch = output_shape_in_call(self.layer, inputs, self._known)
        sizes = zip(branch, shapes_of(shortcut), strict=False)
        fits = all(a == b or None in (a, b) for a, b in sizes)
        if len(branch) != len(shortcut.shape) or not fits:
            raise ValueError(
                f"`shortcut` must have the shape {branch}, which the branch "
                f"'{self.layer.name}' returns. Received: shape "
                f"{tuple(shortcut.shape)}. Pass for example its projection."
            )

    def _call_sometimes(self, inputs, shortcut, arguments):
        def then(outputs):
            outputs = self._kept(self._cast(outputs))
            return outputs if shortcut is None else shortcut + outputs

        def otherwise():
            return self._zeros(inputs) if shortcut is None else shortcut

        if shortcut is not None:
            shortcut = self._cast(shortcut)
        return self._sometimes(inputs, then, otherwise, arguments)

    def _sometimes(self, inputs, then, otherwise, arguments):
        """then(layer(inputs)) if the draw keeps it, otherwise()."""
        outputs, loss = backend.conditional_call(
            self._draw(), self.layer, inputs, then, otherwise, **arguments
        )
        if loss is not None:
            self.add_loss(loss)
        return outputs

    def _zeros(self, inputs):
        _, *shape = output_shape_in_call(self.layer, inputs, self._known)
        if None in shape:
            # One sample run through the branch tells the sizes that are
            # unknown while the graph is built. An empty batch would be
            # free, but TensorFlow's CPU convolution gives it a wrong shape.
            trainable, state = backend.read_variables(self.layer)
            sample, _, _ = backend.stateless_call(
                self.layer,
                trainable,
                state,
                tree.map_structure(lambda x: x[:1], inputs),
                training=False,
            )
            shape = tuple(ops.shape(sample))[1:]
        batch = ops.shape(tree.flatten(inputs)[0])[0]
        return ops.zeros((batch, *shape), dtype=self.compute_dtype)

    def compute_output_shape(self, input_shape):
        return output_shape(self.layer, input_shape)

    def compute_mask(self, inputs, mask=None):
        return self.layer.compute_mask(inputs, mask)

    def inner_parts(self) -> list:
        """The layers within, each with how often it is repeated."""
        return [(self.layer, 1)]

    def get_config(self):
        return {
            **super().get_config(),
            "survival_probability": self.survival_probability,
            "seed": self.seed,
            "inverted": self.inverted,
        }
