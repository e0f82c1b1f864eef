"""Drop path: stochastic depth decided for each sample on its own."""

import keras
from keras import ops

from tfdeep.checks import check_no_tensor, check_probability
from tfdeep.layers.seed_state import SavesSeedState


def drop_path(x, rate: float, seed):
    """x_i b_i / (1 - rate), with b_i ~ Bernoulli(1 - rate) per sample i."""
    if rate >= 1.0:
        return ops.zeros_like(x)
    shape = (ops.shape(x)[0],) + (1,) * (len(x.shape) - 1)
    # Drawn in float32: half precision has too few values for a small rate.
    uniform = keras.random.uniform(shape, dtype="float32", seed=seed)
    kept = x / ops.cast(1.0 - rate, x.dtype)
    return ops.where(uniform >= rate, kept, ops.zeros_like(x))


@keras.saving.register_keras_serializable(package="tfdeep")
class DropPath(SavesSeedState, keras.layers.Dropout):
    """Drops a residual branch for some samples of the batch.

    Use it at the end of a residual branch, right before the addition, as
    vision transformers and ConvNeXt do. In training each sample's branch
    output becomes zero with probability `rate` and is divided by
    `1 - rate` otherwise, so that its expectation is kept:

        y_i = x_i b_i / (1 - rate),  b_i ~ Bernoulli(1 - rate)

    At inference, and at `rate=0`, the layer is the identity.

    The branch is computed for every sample and then masked, so this saves no
    time. `tfdeep.layers.StochasticDepth` draws once per mini-batch and skips
    the computation, as the paper does; that is the difference between the
    two names here, whatever other libraries call them.

    Reference:
        Huang et al., "Deep Networks with Stochastic Depth", 2016, section 3;
        the per-sample decision is that of Larsson et al., "FractalNet",
        2017, and of the EfficientNet code. Deviation from Huang et al.: the
        output is scaled in training instead of at inference.

    Args:
        rate: float in [0, 1], the probability of *dropping* a sample.
        seed: optional integer, the start of the layer's random stream.
        **kwargs: `name`, `dtype` and further arguments of a Keras layer.

    Call arguments:
        inputs: tensor of rank 1 or more, the batch on its first axis.
        training: boolean, whether to drop.

    Input shape:
        `(batch, ...)`, any rank.

    Output shape:
        That of the input.

    Raises:
        TypeError: if `rate` is a tensor.
        ValueError: if `rate` is outside [0, 1].

    Example:
        >>> import numpy as np, tfdeep
        >>> layer = tfdeep.layers.DropPath(rate=0.5, seed=1)
        >>> y = np.asarray(layer(np.ones((8, 2, 2, 3)), training=True))
        >>> sorted(set(y.ravel().tolist()))
        [0.0, 2.0]
    """

    def __init__(self, rate: float, seed: int | None = None, **kwargs):
        check_no_tensor(
            "rate",
            rate,
            "DropPath(0.1)(x), or tfdeep.models.add_drop_path(model) for all "
            "branches of a model",
        )
        check_probability("rate", rate)
        super().__init__(float(rate), seed=seed, **kwargs)

    def call(self, inputs, training=False):
        if not training or self.rate == 0:
            return inputs
        if not keras.backend.is_float_dtype(inputs.dtype):
            raise ValueError(
                "The inputs of DropPath must be floating-point numbers, as "
                f"it scales them. Received: dtype {inputs.dtype}. Cast them."
            )
        return drop_path(inputs, self.rate, self.seed_generator)

    def get_config(self):
        config = super().get_config()
        config.pop("noise_shape", None)
        return config
