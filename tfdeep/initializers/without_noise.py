"""A model in training mode, with everything that is random left out.

Batch normalization shall use the statistics of the batch, which asks for
`training=True`, and dropout shall do nothing. Each such layer has a setting
at which it is the identity; it is set for a while and then set back.

Batch normalization on TensorFlow needs a setting too, for the gradient of a
gradient. `tf.nn.moments` stops the gradient of the mean within the variance:
nothing is lost in the first derivative, and a term is in the second. The
statistics for several devices, also right on one, are computed without that.
"""

import contextlib
from collections.abc import Iterator

import keras

from tfdeep.graph.parts import every_part
from tfdeep.layers import Repeat, StochasticDepth

# What to set, to what, on which layers: subclasses, such as DropPath and
# spatial dropout, are in. Attention holds a Dropout, or is listed here.
NEUTRAL: tuple[tuple[type, str, float | None], ...] = (
    (keras.layers.Dropout, "rate", 0.0),
    (keras.layers.AlphaDropout, "rate", 0.0),
    (keras.layers.GaussianDropout, "rate", 0.0),
    (keras.layers.GaussianNoise, "stddev", 0.0),
    (keras.layers.Attention, "dropout", 0.0),
    (StochasticDepth, "survival_probability", 1.0),
    (Repeat, "survival_probabilities", None),
)


def settings_of(layer: keras.Layer) -> list[tuple[str, float | None]]:
    """The settings of a layer to change for a while, and to what."""
    found: list[tuple[str, float | None]] = [
        (name, value)
        for kind, name, value in NEUTRAL
        if isinstance(layer, kind)
    ]
    if hasattr(layer, "get_dropout_mask"):  # The cells of recurrent layers.
        found += [("dropout", 0.0), ("recurrent_dropout", 0.0)]
    if isinstance(layer, keras.layers.BatchNormalization):
        if keras.backend.backend() == "tensorflow":
            found.append(("synchronized", True))
    return found


@contextlib.contextmanager
def without_noise(model: keras.Layer) -> Iterator[None]:
    """Set dropout, noise and weight penalties to nothing, and back again.

    Gradients of gradients are exact meanwhile.
    """
    with contextlib.ExitStack() as stack:
        for layer in every_part(model):
            for name, neutral in settings_of(layer):
                stack.callback(setattr, layer, name, getattr(layer, name))
                setattr(layer, name, neutral)
        for variable in model.trainable_variables:
            if variable.regularizer is not None:
                stack.callback(
                    setattr, variable, "regularizer", variable.regularizer
                )
                variable.regularizer = None
        yield
