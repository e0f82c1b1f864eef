"""Densely connected layers, with a backward pass that stores only features.

    x_l = [x_0, x_1, ..., x_{l-1}] -> H_l -> k new channels

The plain form keeps every concatenation and every normalised copy of it for
the backward pass: quadratic in the number of layers. With `recompute=True`
one thing is kept, the block's own output: it holds the input of each layer
as its first channels, from which the layer is computed again. Kept memory is
linear in depth, at one more forward pass; the gradient of the concatenation
is summed in place of being gathered layer by layer.

Pleiss et al., "Memory-Efficient Implementation of DenseNets", 2017, get the
same bound by shared storage; that keeps the convolutions' outputs, which are
recomputed here.
"""

import keras
from keras import ops

from tfdeep import backend
from tfdeep.checks import check_images, check_positive, check_probability
from tfdeep.layers.units import ConvUnits


def dense_block(x, layers, axis: int, training: bool):
    """Append the output of each layer to its input, layer after layer."""
    for layer in layers:
        x = ops.concatenate([x, layer(x, training=training)], axis=axis)
    return x


def dense_block_recomputed(x, layers, axis: int, training: bool):
    """`dense_block`, with every layer recomputed in the backward pass.

    Returns:
        `(outputs, state)`: the state lists the new values of the
        non-trainable variables of each layer.
    """
    weights, state = [], []
    for layer in layers:
        trainable, other = backend.read_variables(layer)
        weights.append(trainable)
        state.append(other)

    def call(index, x, trainable, state):
        return backend.stateless_call(
            layers[index], trainable, state, x, training=training
        )

    def forward(primals, constants):
        x, *flat = primals
        weights_in, state_in = _like(weights, flat), _like(state, constants)
        new_state = []
        for index in range(len(layers)):
            y, new, _ = call(index, x, weights_in[index], state_in[index])
            x = ops.concatenate([x, y], axis=axis)
            new_state.extend(new)
        return [x], new_state, [x]

    def backward(primals, constants, kept, cotangents):
        weights_in = _like(weights, primals[1:])
        state_in = _like(state, constants)
        (features,), (gradient,) = kept, cotangents
        weight_gradients = []
        sizes = _channels_before(x, layers, axis)
        for index in reversed(range(len(layers))):
            rest, new = _split(gradient, sizes[index], axis)
            (seen,), trainable = backend.after(
                rest, [features], weights_in[index]
            )
            seen, _ = _split(seen, sizes[index], axis)

            def layer(x, *trainable, index=index):
                return call(index, x, list(trainable), state_in[index])[0]

            through, *grads = backend.vjp(layer, [seen, *trainable], new)
            gradient = rest + through
            weight_gradients[:0] = grads
        return [gradient, *weight_gradients]

    outputs, new_state = backend.custom_vjp(
        forward, backward, [x, *sum(weights, [])], sum(state, [])
    )
    return outputs[0], _like(state, new_state)


def _like(nested, flat):
    """Cut a flat list into lists as long as those of `nested`."""
    flat = iter(flat)
    return [[next(flat) for _ in part] for part in nested]


def _channels_before(x, layers, axis):
    """The number of channels that each layer sees."""
    sizes, channels = [], x.shape[axis]
    for layer in layers:
        sizes.append(channels)
        channels += layer.output_shape[axis]
    return sizes


def _split(x, size: int, axis: int):
    """The first `size` channels up to the end of a layer's, and the rest."""
    return ops.split(x, [size], axis=axis)


@keras.saving.register_keras_serializable(package="tfdeep")
class DenseBlock(ConvUnits):
    """Layers that each see the features of all layers before them.

    Each of the `num_layers` layers turns everything before it into
    `growth_rate` new channels and appends them:

        BN - ReLU - conv 1x1, 4k - BN - ReLU - conv 3x3, k     (bottleneck)
        BN - ReLU - conv 3x3, k                                (plain)

    with dropout after each convolution where `rate > 0`. `num_layers=0` is
    the identity.

    `recompute=True` keeps only the block's output for the backward pass and
    computes the layers again there: less memory, more time, the same
    gradients.

    Reference:
        Huang et al., "Densely Connected Convolutional Networks", 2017,
        section 3 and eq. 2. Recomputation: Pleiss et al., 2017; deviation:
        whole layers are recomputed, not only concatenation and BN.

    Args:
        num_layers: integer, the number of layers.
        growth_rate: integer, k, the channels each layer adds.
        bottleneck: boolean, whether a 1x1 convolution to 4k channels comes
            first. Defaults to `True`.
        rate: float in [0, 1], the probability of *dropping* a value after a
            convolution. Defaults to 0.
        recompute: boolean, whether to trade time for memory.
        **kwargs: `norm`, `data_format`, `weight_decay`, `fan_mode`,
            `use_bias`, `seed`, `name`, `dtype`; see
            `tfdeep.layers.ResidualBlock`.

    Input shape:
        `(batch, height, width, channels)`.

    Output shape:
        `(batch, height, width, channels + num_layers * growth_rate)`.

    Raises:
        ValueError: on arguments outside these ranges.

    Example:
        >>> import numpy as np, tfdeep
        >>> block = tfdeep.DenseBlock(num_layers=3, growth_rate=4)
        >>> tuple(block(np.ones((2, 5, 5, 6))).shape)
        (2, 5, 5, 18)
    """

    def __init__(
        self,
        num_layers: int,
        growth_rate: int,
        bottleneck: bool = True,
        rate: float = 0.0,
        recompute: bool = False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if num_layers != 0:
            check_positive("num_layers", num_layers)
        check_positive("growth_rate", growth_rate)
        check_probability("rate", rate)
        self.num_layers = num_layers
        self.growth_rate = growth_rate
        self.bottleneck = bottleneck
        self.rate = rate
        self.recompute = recompute
        self.dense_layers: list[keras.layers.Layer] = []

    def build(self, input_shape):
        if self.dense_layers:
            return
        check_images(self, input_shape)
        shape = list(input_shape)
        for index in range(self.num_layers):
            layer = self.sequence(
                self._dense_layer(shape[self.channel_axis]), f"dense_{index}"
            )
            layer.build(tuple(shape))
            self.dense_layers.append(layer)
            shape[self.channel_axis] += self.growth_rate

    def _dense_layer(self, channels):
        layers = []
        if self.bottleneck:
            layers += self._unit(channels, 4 * self.growth_rate, 1)
            channels = 4 * self.growth_rate
        return layers + self._unit(channels, self.growth_rate, 3)

    def _unit(self, channels, filters, kernel_size):
        return [
            *self.active_units(channels),
            self.conv_unit(filters, kernel_size),
            *self.dropout_units(self.rate),
        ]

    def call(self, inputs, training=None):
        arguments = (inputs, self.dense_layers, self.channel_axis, training)
        # A symbol has no backward pass.
        symbol = isinstance(inputs, keras.KerasTensor)
        if symbol or not (self.recompute and training and self.num_layers):
            return dense_block(*arguments)
        outputs, state = dense_block_recomputed(*arguments)
        for layer, values in zip(self.dense_layers, state, strict=True):
            backend.write_variables(layer, values)
        return outputs

    def compute_output_shape(self, input_shape):
        shape = list(input_shape)
        shape[self.channel_axis] += self.num_layers * self.growth_rate
        return tuple(shape)

    def inner_parts(self) -> list:
        """The layers within, each with how often it is repeated."""
        return [(layer, 1) for layer in self.dense_layers]

    def get_config(self):
        return {
            **super().get_config(),
            "num_layers": self.num_layers,
            "growth_rate": self.growth_rate,
            "bottleneck": self.bottleneck,
            "rate": self.rate,
            "recompute": self.recompute,
        }
