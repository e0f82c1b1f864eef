"""What the reference networks share: input, stem, stages, head.

A family file says which blocks a net of some depth has; the pieces that
surround them in every paper are here.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import keras

from tfdeep.checks import (
    check_choice,
    check_positive,
    check_probability,
    check_seed,
    check_whole,
)
from tfdeep.layers import Repeat, ResidualBlock, linear_survival
from tfdeep.layers.units import ConvUnits, l2_decay, seed_stream

# Equal blocks, from which on "auto" stacks them: fewer start within seconds.
STACK_FROM = 32
FORMS = {"cifar": ((32, 32, 3), 10), "imagenet": ((224, 224, 3), 1000)}


@dataclass
class Architecture:
    """The arguments that all reference networks take.

    Args:
        input_shape: `(height, width, channels)`, or `(channels, height,
            width)` with `data_format="channels_first"`; sizes may be `None`.
            Defaults to 32x32x3 (cifar) or 224x224x3 (imagenet).
        classes: integer. Defaults to 10 (cifar) or 1000 (imagenet).
        form: `"cifar"`, three stages after a 3x3 stem, or `"imagenet"`, four
            stages after a 7x7 stem and max pooling.
        survival_probability: float in [0, 1], that of the *last* block;
            earlier blocks follow the linear rule. Defaults to 1.
        norm: `"batch"` or `"group"`.
        include_top: boolean, whether to end in pooling and a classifier, or
            in the feature maps.
        classifier_activation: `"softmax"`, or `None` for logits.
        data_format: `"channels_last"`, `"channels_first"` or `None`.
        weight_decay: float, coupled L2 coefficient of all trainable weights.
        fan_mode: `"fan_out"` or `"fan_in"`, of He initialisation.
        use_bias: boolean, whether convolutions have a bias.
        seed: optional integer for initial weights and random decisions.
        norm_groups: integer, the number of groups of `norm="group"`, lowered
            to a divisor of the channels. Defaults to 32.
        activation_first: boolean, whether ReLU comes before the
            normalization (blocks with pre-activation).
        weight_standardization: boolean, whether convolutions are
            `tfdeep.layers.WeightStandardizedConv2D`.
        stacked: whether equal blocks in a row become one
            `tfdeep.layers.Repeat`: `True`, `False`, or `"auto"` where there
            are at least 32 of them. `clipnorm`, Lamb, Adafactor and Muon
            train stacked blocks otherwise: pass `False` for them.
        name: optional name of the model.
    """

    input_shape: Sequence[int | None] | None = None
    classes: int | None = None
    form: str = "cifar"
    survival_probability: float = 1.0
    norm: str = "batch"
    include_top: bool = True
    classifier_activation: str | None = "softmax"
    data_format: str | None = None
    weight_decay: float = 0.0
    fan_mode: str = "fan_out"
    use_bias: bool = False
    seed: int | None = None
    stacked: bool | str = "auto"
    name: str | None = None
    norm_groups: int = 32
    activation_first: bool = False
    weight_standardization: bool = False
    units: ConvUnits = field(init=False, repr=False)

    def __post_init__(self):
        check_choice("form", self.form, FORMS)
        check_probability("survival_probability", self.survival_probability)
        shape, classes = FORMS[self.form]
        self.classes = classes if self.classes is None else self.classes
        check_positive("classes", self.classes)
        check_seed(self.seed)
        check_choice("stacked", self.stacked, ("auto", True, False))
        self._seeds = seed_stream(self.seed)
        self.units = ConvUnits(**self.unit_options())
        self.data_format = self.units.data_format
        if self.input_shape is None:
            first = self.data_format == "channels_first"
            self.input_shape = (shape[2], *shape[:2]) if first else shape
        self._check_input_shape()

    def _check_input_shape(self):
        shape = tuple(self.input_shape)
        if len(shape) != 3 or shape[self.units.channel_axis % 4 - 1] is None:
            raise ValueError(
                "`input_shape` must have three entries with a known number "
                f"of channels. Received: input_shape={shape}. Pass for "
                "example (32, 32, 3)."
            )

    @property
    def imagenet(self) -> bool:
        """Whether this is the four-stage form."""
        return self.form == "imagenet"

    def unit_options(self) -> dict:
        """The arguments for the next block; each gets a seed of its own."""
        return {
            "norm": self.norm,
            "data_format": self.data_format,
            "weight_decay": self.weight_decay,
            "fan_mode": self.fan_mode,
            "use_bias": self.use_bias,
            "seed": next(self._seeds),
            "norm_groups": self.norm_groups,
            "activation_first": self.activation_first,
            "weight_standardization": self.weight_standardization,
        }

    def input(self):
        """Return the model's input."""
        return keras.Input(tuple(self.input_shape), name="image")

    def stem(self, x, filters: int, activate: bool = True):
        """First convolution; in the imagenet form also the max pooling."""
        size, strides = (7, 2) if self.imagenet else (3, 1)
        x = self.units.conv_unit(filters, size, strides)(x)
        if activate or self.imagenet:
            x = self.activation(x)
        if self.imagenet:
            x = keras.layers.MaxPooling2D(
                3, 2, "same", data_format=self.data_format
            )(x)
        return x

    def activation(self, x):
        """Normalization and ReLU."""
        for unit in self.units.active_units(x.shape[self.units.channel_axis]):
            x = unit(x)
        return x

    def stages(self, x, block, depths: Sequence[int], filters, **options):
        """Stack residual blocks, halving the size between stages."""
        survival = iter(linear_survival(sum(depths), self.survival_probability))
        for stage, (depth, width) in enumerate(
            zip(depths, filters, strict=True), start=1
        ):
            blocks = [
                block(
                    width,
                    strides=2 if stage > 1 and index == 0 else 1,
                    survival_probability=next(survival),
                    name=f"stage{stage}_block{index + 1}",
                    **options,
                    **self.unit_options(),
                )
                for index in range(depth)
            ]
            x = self._in_a_row(x, blocks)
        return x

    def _in_a_row(self, x, blocks):
        """Call the blocks of a stage, equal ones stacked if it pays."""
        first, *others = blocks
        if first.strides > 1 or x.shape[self.units.channel_axis] != (
            first.output_filters
        ):
            x, blocks = first(x), others
        least = STACK_FROM if self.stacked == "auto" else 2
        if self.stacked is False or len(blocks) < least:
            for block in blocks:
                x = block(x)
            return x
        first, *_, last = blocks
        number = last.name.rpartition("block")[2]
        survival = [block.survival_probability for block in blocks]
        return Repeat(
            first,
            len(blocks),
            survival if min(survival) < 1 else None,
            name=f"{first.name}_to_{number}",
        )(x)

    def model(self, inputs, x, name: str):
        """Add the head and return the model."""
        if self.include_top:
            x = keras.layers.GlobalAveragePooling2D(
                data_format=self.data_format
            )(x)
            x = keras.layers.Dense(
                self.classes,
                kernel_initializer=keras.initializers.GlorotUniform(
                    next(self._seeds)
                ),
                kernel_regularizer=l2_decay(self.weight_decay),
                bias_regularizer=l2_decay(self.weight_decay),
                name="logits",
            )(x)
            # Half precision overflows in a softmax: end in float32.
            x = keras.layers.Activation(
                self.classifier_activation or "linear",
                dtype="float32",
                name="predictions",
            )(x)
        return keras.Model(inputs, x, name=self.name or name)


def residual_model(
    architecture: Architecture,
    block: type[ResidualBlock],
    depths: Sequence[int],
    filters: Sequence[int],
    stem_filters: int,
    name: str,
    **options,
):
    """A residual net: stem, stages of one kind of block, head."""
    inputs = architecture.input()
    x = architecture.stem(inputs, stem_filters, activate=not block.preactivated)
    x = architecture.stages(x, block, depths, filters, **options)
    if block.preactivated:
        x = architecture.activation(x)
    return architecture.model(inputs, x, name)


def blocks_per_stage(depth: int, step: int, offset: int, family: str) -> int:
    """n of a depth `step * n + offset`, or an error naming valid depths."""
    check_whole("depth", depth)
    count, rest = divmod(depth - offset, step)
    if rest or count < 1:
        below = max(count, 1) * step + offset
        raise ValueError(
            f"`depth` must be {step}n+{offset} in a {family}. Received: "
            f"depth={depth}. The nearest valid depths are {below} and "
            f"{below + step}."
        )
    return count


def look_up_depth(depth: int, table: dict, family: str):
    """The entry of a depth, or an error naming the nearest valid depths."""
    check_whole("depth", depth)
    if depth not in table:
        nearest = sorted(table, key=lambda known: abs(known - depth))[:2]
        raise ValueError(
            "`depth` must be one of "
            f"{', '.join(str(known) for known in table)} in the imagenet form "
            f"of {family}. Received: depth={depth}. The nearest are "
            f"{' and '.join(str(known) for known in sorted(nearest))}."
        )
    return table[depth]
