"""The settings that every convolutional block here shares, and its parts.

The papers' nets are made of the same units: convolutions without bias, batch
normalization, ReLU. A block says *which* units it has; how a unit is
initialised, normalised and decayed is said once, here.
"""

import math
from numbers import Real

import keras
import numpy as np

from tfdeep.checks import check_choice, check_positive, check_seed
from tfdeep.layers.fan_normal import FanNormal
from tfdeep.layers.frozen_parts import KeepsFrozenParts
from tfdeep.layers.grouped_conv import GroupedConv2D
from tfdeep.layers.seed_state import Dropout
from tfdeep.layers.weight_standardized_conv import WeightStandardizedConv2D

# Batch normalization as in the papers' code; Keras' defaults differ.
BATCH_NORM_MOMENTUM = 0.9
BATCH_NORM_EPSILON = 1e-5


def seed_stream(seed: int | None):
    """Yield an endless stream of distinct seeds, or of `None`s.

    Example:
        >>> from tfdeep.layers.units import seed_stream
        >>> next(seed_stream(None)) is None
        True
        >>> a, b = seed_stream(0), seed_stream(0)
        >>> [next(a), next(a)] == [next(b), next(b)]
        True
    """
    sequence = np.random.SeedSequence(seed)
    while True:
        (child,) = sequence.spawn(1)
        value = int(child.generate_state(1)[0] >> 1)
        yield None if seed is None else value


def l2_decay(weight_decay: float):
    """The L2 penalty whose gradient is `weight_decay * w`, or `None`."""
    return keras.regularizers.L2(weight_decay / 2) if weight_decay else None


class ConvUnits(KeepsFrozenParts):
    """A layer built from convolution, normalization and ReLU units.

    Args:
        norm: `"batch"` or `"group"`.
        norm_groups: integer, the number of groups of `"group"`, lowered to a
            divisor of the channels. Defaults to 32.
        activation_first: boolean, whether ReLU comes before the
            normalization instead of after it.
        weight_standardization: boolean, whether convolutions are
            `WeightStandardizedConv2D`, which always have a bias.
        data_format: `"channels_last"`, `"channels_first"` or `None` for the
            Keras setting.
        weight_decay: float, the L2 coefficient in the gradient of every
            trainable weight (coupled, as in the papers' code).
        fan_mode: `"fan_out"` or `"fan_in"`, of He initialisation.
        use_bias: boolean, whether convolutions have a bias.
        seed: optional integer for the initial weights and random decisions.
        **kwargs: `name`, `dtype`.
    """

    def __init__(
        self,
        norm: str = "batch",
        data_format: str | None = None,
        weight_decay: float = 0.0,
        fan_mode: str = "fan_out",
        use_bias: bool = False,
        seed: int | None = None,
        norm_groups: int = 32,
        activation_first: bool = False,
        weight_standardization: bool = False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        check_positive("norm_groups", norm_groups)
        check_choice("activation_first", activation_first, (False, True))
        check_choice(
            "weight_standardization", weight_standardization, (False, True)
        )
        check_choice("norm", norm, ("batch", "group"))
        check_choice("fan_mode", fan_mode, ("fan_in", "fan_out"))
        data_format = data_format or keras.config.image_data_format()
        check_choice(
            "data_format", data_format, ("channels_last", "channels_first")
        )
        number = isinstance(weight_decay, Real)
        if not number or not 0 <= float(weight_decay) < float("inf"):
            raise ValueError(
                "`weight_decay` must be a number of 0 or more. Received: "
                f"weight_decay={weight_decay!r}. Pass 0.0 for none."
            )
        check_seed(seed)
        self.norm = norm
        self.data_format = data_format
        self.weight_decay = weight_decay
        self.fan_mode = fan_mode
        self.use_bias = use_bias
        self.seed = seed
        self.norm_groups = norm_groups
        self.activation_first = activation_first
        self.weight_standardization = weight_standardization
        self._seeds = seed_stream(seed)

    @property
    def channel_axis(self) -> int:
        """The axis of the channels: -1 or 1."""
        return 1 if self.data_format == "channels_first" else -1

    def sequence(self, layers, name: str):
        """Return the layers one after the other, as one layer."""
        return keras.Sequential(layers, name=name)

    def conv_unit(self, filters: int, kernel_size: int, strides=1, groups=1):
        """Return a convolution with "same" padding and He initialisation."""
        standard = self.weight_standardization
        convolution = keras.layers.Conv2D if groups == 1 else GroupedConv2D
        convolution = WeightStandardizedConv2D if standard else convolution
        return convolution(
            filters,
            kernel_size,
            strides=strides,
            groups=groups,
            padding="same",
            use_bias=self.use_bias or standard,
            data_format=self.data_format,
            kernel_initializer=FanNormal(
                1.0 if standard else 2.0, self.fan_mode, next(self._seeds)
            ),
            kernel_regularizer=l2_decay(self.weight_decay),
            bias_regularizer=l2_decay(self.weight_decay),
            dtype=self.dtype_policy,
        )

    def norm_unit(self, channels: int):
        """Return the normalization of a tensor with `channels` channels."""
        shared = {
            "axis": self.channel_axis,
            "epsilon": BATCH_NORM_EPSILON,
            "gamma_regularizer": l2_decay(self.weight_decay),
            "beta_regularizer": l2_decay(self.weight_decay),
            "dtype": self.dtype_policy,
        }
        if self.norm == "batch":
            return keras.layers.BatchNormalization(
                momentum=BATCH_NORM_MOMENTUM, **shared
            )
        groups = math.gcd(channels, self.norm_groups)
        return keras.layers.GroupNormalization(groups, **shared)

    def active_units(self, channels: int) -> list:
        """Return normalization and ReLU, in this order or the other one."""
        units = [self.norm_unit(channels), self.relu_unit()]
        return units[::-1] if self.activation_first else units

    def relu_unit(self):
        """Return a ReLU."""
        return keras.layers.ReLU(dtype=self.dtype_policy)

    def dropout_units(self, rate: float) -> list:
        """Return a dropout in a list, or an empty list for `rate=0`."""
        if rate == 0:
            return []
        seed = next(self._seeds)
        return [Dropout(rate, seed=seed, dtype=self.dtype_policy)]

    def get_config(self):
        return {
            **super().get_config(),
            "norm": self.norm,
            "data_format": self.data_format,
            "weight_decay": self.weight_decay,
            "fan_mode": self.fan_mode,
            "use_bias": self.use_bias,
            "seed": self.seed,
            "norm_groups": self.norm_groups,
            "activation_first": self.activation_first,
            "weight_standardization": self.weight_standardization,
        }
