"""Augmentation multiplicity: several views of an example, one gradient."""

import keras
from keras import ops, tree

from tfdeep.checks import check_positive
from tfdeep.inside import layers_of
from tfdeep.privacy.frozen import Frozen

MIXING = tuple(
    getattr(keras.layers, name)
    for name in ("MixUp", "CutMix")
    if hasattr(keras.layers, name)
)


@keras.saving.register_keras_serializable(package="tfdeep")
class Views(Frozen):
    """Shows each example several times, each time augmented anew.

    The loss of an example is the mean over its views; its gradient is taken
    of that mean and then clipped, so that the privacy is that of one view
    and the noise is the same, while the gradient varies less.

    Reference:
        De, Berrada, Hayes, Smith, Balle, "Unlocking High-Accuracy
        Differentially Private Image Classification through Scale", 2022,
        section 3.2. No deviation.

    Args:
        layer: a Keras layer that augments a batch, each example by itself.
        count: integer, how many views of each example. The paper has 16.

    Raises:
        ValueError: if `count` is no positive integer, or the layer mixes
            examples.
        TypeError: if `layer` is no Keras layer.

    Example:
        >>> import keras, tfdeep
        >>> flip = keras.layers.RandomFlip("horizontal")
        >>> tfdeep.privacy.Views(flip, count=4).count
        4
    """

    def __init__(self, layer: keras.layers.Layer, count: int = 16):
        check_positive("count", count)
        if not isinstance(layer, keras.layers.Layer):
            raise TypeError(
                f"`layer` came as {type(layer).__name__}. Views are made by a "
                "Keras layer. Pass one, such as keras.layers.RandomFlip()."
            )
        if any(isinstance(each, MIXING) for each in layers_of(layer)):
            raise ValueError(
                f"`layer` came as {layer.name!r}, which mixes examples with "
                "each other. A gradient would then belong to several, and no "
                "clip could bound what one of them does. Use augmentation of "
                "single examples: flips, shifts, noise."
            )
        self.layer = layer
        self.count = int(count)

    def repeated(self, x):
        """Each row `count` times, one after the other."""
        return tree.map_structure(
            lambda t: ops.repeat(t, self.count, axis=0), x
        )

    def get_config(self):
        return {
            "layer": keras.saving.serialize_keras_object(self.layer),
            "count": self.count,
        }

    @classmethod
    def from_config(cls, config):
        layer = keras.saving.deserialize_keras_object(config["layer"])
        return cls(layer, config["count"])
