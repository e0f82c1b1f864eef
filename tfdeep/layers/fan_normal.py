"""He initialisation, drawn without a program for each shape."""

import math

import keras

from tfdeep import backend


@keras.saving.register_keras_serializable(package="tfdeep")
class FanNormal(keras.initializers.VarianceScaling):
    """Normal, not truncated, with a variance by the fan of a kernel.

        w ~ N(0, scale / fan)

    The values are, to the bit, those of Keras' `VarianceScaling`. On JAX its
    draw is compiled for each shape, which takes longer than all else in
    building a deep net; here kernels of similar sizes share one program.

    Reference:
        He et al., "Delving Deep into Rectifiers", 2015, equations 10 and 14.

    Args:
        scale: positive float. Defaults to 2, for ReLUs.
        mode: `"fan_out"` or `"fan_in"`.
        seed: optional integer.
    """

    def __init__(
        self, scale: float = 2.0, mode: str = "fan_out", seed: int | None = None
    ):
        super().__init__(scale, mode, "untruncated_normal", seed)

    def __call__(self, shape, dtype=None):
        *window, inputs, outputs = shape
        units = outputs if self.mode == "fan_out" else inputs
        deviation = math.sqrt(self.scale / (math.prod(window) * units))
        return backend.normal(shape, deviation, self.seed, dtype)

    def get_config(self):
        config = super().get_config()
        return {name: config[name] for name in ("scale", "mode", "seed")}
