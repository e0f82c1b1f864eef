"""What all residual blocks share: a branch, a shortcut, their sum.

    H_l = act(b_l f_l(H_{l-1}) + shortcut(H_{l-1}))

A block says what f_l is; `ResidualBlock` adds the shortcut (He et al. 2015,
options A, B, C, or none for a plain net) and stochastic depth.
"""

from keras import ops

from tfdeep.checks import (
    check_boolean,
    check_choice,
    check_images,
    check_positive,
    check_probability,
)
from tfdeep.layers.shortcuts import ZeroPadShortcut, strided_shape
from tfdeep.layers.stochastic_depth import StochasticDepth
from tfdeep.layers.units import ConvUnits

SHORTCUTS = ("A", "A-average", "B", "C", "none")


class ResidualBlock(ConvUnits):
    """Base of the residual blocks: `shortcut(x) + branch(x)`.

    After the block is built, `.branch` and `.shortcut` are the layers it
    sums (`.shortcut` is `None` for an identity) and `.preactivation` what
    runs before both, or `None`.

    A subclass gives `branch_layers(channels)`, the list of layers of the
    branch, sets `expansion` (output channels per filter) and, for
    pre-activation blocks, `preactivated = True`.

    Args:
        filters: integer, the block's width.
        strides: integer, the subsampling of the block. Defaults to 1.
        shortcut: how the identity crosses a change of shape: `"A"` zero
            padding, `"A-average"` the same after average pooling, `"B"` a
            1x1 convolution where the shape changes, `"C"` a 1x1 convolution
            always, `"none"` no shortcut at all.
        survival_probability: float in [0, 1], the probability of keeping
            the branch in a training step. Defaults to 1.
        inverted: boolean, whether a kept branch is divided by that in
            training instead of being scaled at inference. Defaults to False.
        **kwargs: `norm`, `data_format`, `weight_decay`, `fan_mode`,
            `use_bias`, `seed`, `norm_groups`, `activation_first`,
            `weight_standardization`, `name`, `dtype`.

    Raises:
        ValueError: on arguments outside these ranges, and for stochastic
            depth without a shortcut.
    """

    expansion = 1
    preactivated = False

    def __init__(
        self,
        filters: int,
        strides: int = 1,
        shortcut: str = "B",
        survival_probability: float = 1.0,
        inverted: bool = False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        check_positive("filters", filters)
        check_positive("strides", strides)
        check_choice("shortcut", shortcut, SHORTCUTS)
        check_probability("survival_probability", survival_probability)
        check_boolean("inverted", inverted)
        if shortcut == "none" and survival_probability < 1:
            raise ValueError(
                "`survival_probability` must be 1 with shortcut='none': a "
                "dropped branch needs a shortcut to carry the signal. "
                f"Received: survival_probability={survival_probability}. Use "
                "shortcut 'A', 'B' or 'C'."
            )
        if self.activation_first and not self.preactivated:
            raise ValueError(
                f"`activation_first` must be False for {type(self).__name__}, "
                "which normalises after its convolutions. Received: "
                "activation_first=True. Use PreActivationBlock or WideBlock "
                "to activate before them."
            )
        self.filters = filters
        self.strides = strides
        self.shortcut_option = shortcut
        self.survival_probability = survival_probability
        self.inverted = inverted
        self.branch = self.shortcut = self.preactivation = None

    @property
    def output_filters(self) -> int:
        """The number of channels the block returns."""
        return self.filters * self.expansion

    def branch_layers(self, channels: int) -> list:
        """The layers of the branch, for an input of `channels` channels."""
        raise NotImplementedError

    def build(self, input_shape):
        if self.branch is not None:
            return
        check_images(self, input_shape)
        channels = input_shape[self.channel_axis]
        changes = self.strides > 1 or channels != self.output_filters
        self._build_preactivation(channels, changes, input_shape)
        self._build_branch(channels, changes, input_shape)
        self._build_shortcut(changes, input_shape)

    def _build_preactivation(self, channels, changes, input_shape):
        """Where the shape changes, branch and shortcut share the first one."""
        if self.preactivated and changes:
            self.preactivation = self.sequence(
                self.active_units(channels), "preactivation"
            )
            self.preactivation.build(input_shape)

    def _build_branch(self, channels, changes, input_shape):
        layers = self.branch_layers(channels)
        if self.preactivated and not changes:
            layers = [*self.active_units(channels), *layers]
        branch = self.sequence(layers, "branch")
        if self.survival_probability < 1:
            branch = StochasticDepth(
                branch,
                self.survival_probability,
                seed=next(self._seeds),
                inverted=self.inverted,
                dtype=self.dtype_policy,
            )
        branch.build(input_shape)
        self.branch = branch

    def _build_shortcut(self, changes, input_shape):
        option = self.shortcut_option
        if option == "none" or (option != "C" and not changes):
            return
        if option in ("B", "C"):
            layers = [self.conv_unit(self.output_filters, 1, self.strides)]
            if not self.preactivated:
                layers.append(self.norm_unit(self.output_filters))
            self.shortcut = self.sequence(layers, "shortcut")
        else:
            self.shortcut = ZeroPadShortcut(
                self.output_filters,
                self.strides,
                "average" if option == "A-average" else "slice",
                self.data_format,
                dtype=self.dtype_policy,
            )
        self.shortcut.build(input_shape)

    def call(self, inputs, training=None):
        x = inputs
        if self.preactivation is not None:
            x = self.preactivation(x, training=training)
        shortcut = x
        if self.shortcut is not None:
            shortcut = self.shortcut(x, training=training)
        if self.shortcut_option == "none":
            y = self.branch(x, training=training)
        elif self.survival_probability < 1:
            y = self.branch(x, shortcut, training=training)
        else:
            y = shortcut + self.branch(x, training=training)
        return y if self.preactivated else ops.relu(y)

    def compute_output_shape(self, input_shape):
        return strided_shape(
            input_shape, self.output_filters, self.strides, self.data_format
        )

    def inner_parts(self) -> list:
        """The layers within, each with how often it is repeated."""
        parts = (self.preactivation, self.branch, self.shortcut)
        return [(part, 1) for part in parts if part is not None]

    def get_config(self):
        return {
            **super().get_config(),
            "filters": self.filters,
            "strides": self.strides,
            "shortcut": self.shortcut_option,
            "survival_probability": self.survival_probability,
            "inverted": self.inverted,
        }
