"""Stochastic depth around a whole block."""

import keras

from tfdeep.layers.held import call_arguments, output_shape
from tfdeep.layers.stochastic_depth import StochasticDepth


@keras.saving.register_keras_serializable(package="tfdeep")
class StochasticBlock(StochasticDepth):
    """Skips a block at random while training: its input passes unchanged.

    Put it around a whole block that keeps its input's shape, such as
    `x + f(x)` of your own. One draw b ~ Bernoulli(p) decides for the
    mini-batch, and a dropped block is not computed:

        training:   b g(x) + (1 - b) x
        inference:  p g(x) + (1 - p) x

    and with `inverted=True`, which leaves the function at inference as it is,

        training:   b / p (g(x) - x) + x
        inference:  g(x)

    With g(x) = x + f(x) this is stochastic depth, x + b f(x) and x + p f(x).
    The residual blocks of this package do the same by their own argument
    `survival_probability`, and to the sum *before* a final activation.

    `survival_probability=1` is the plain block.

    Reference:
        Huang et al., "Deep Networks with Stochastic Depth", 2016, eqs. 2 and
        5, for a block without an activation after the sum.

    Args:
        layer: the block, a Keras layer or model that keeps its input's shape.
        survival_probability: float in [0, 1], the probability of *keeping*
            the block.
        seed: optional integer, the start of the layer's random stream.
        inverted: boolean, whether a kept block is scaled in training instead.
        **kwargs: `name` and further arguments of a Keras layer.

    Call arguments:
        inputs: the block's input tensor, the batch on its first axis.
        mask: optional mask, handed to the block if it takes one.
        training: boolean, whether to drop.

    Input shape:
        That of the block.

    Output shape:
        That of the input.

    Raises:
        ValueError: if `survival_probability` is outside [0, 1] or the block
            changes the shape.

    Example:
        >>> import keras, numpy as np, tfdeep
        >>> block = keras.layers.Rescaling(3.0)
        >>> layer = tfdeep.layers.StochasticBlock(block, 0.5, seed=0)
        >>> float(layer(np.ones((2, 3)), training=False)[0, 0])
        2.0
        >>> float(layer(np.ones((2, 3)), training=True)[0, 0]) in (1.0, 3.0)
        True
    """

    _way_out = "StochasticBlock(block, 0.5)(x) with a layer or model"

    def build(self, input_shape=None):
        super().build(input_shape)
        shape = tuple(output_shape(self.layer, input_shape))
        if shape != tuple(input_shape):
            raise ValueError(
                f"The block {self.layer.name!r} must keep the shape, as it "
                f"may be skipped. Received: an output of shape {shape} for an "
                f"input of shape {tuple(input_shape)}. Use StochasticDepth "
                "around its branch, with a shortcut."
            )

    def call(self, inputs, mask=None, training=None):
        arguments = call_arguments(self.layer, mask, training)
        inputs = self._cast(inputs)
        if training and not self._is_certain():
            return self._sometimes(
                inputs,
                lambda outputs: self._taken(self._cast(outputs), inputs),
                lambda: inputs,
                arguments,
            )
        outputs = self.layer(inputs, **arguments)
        if self._is_certain() or self.inverted:
            return outputs
        p = self._cast(self.survival_probability)
        return p * self._cast(outputs) + (1 - p) * inputs

    def _taken(self, outputs, inputs):
        """What a kept block returns in training: g(x), or scaled about x."""
        if not self.inverted:
            return outputs
        return inputs + self._kept(outputs - inputs)
