"""Layers that make their parts themselves, and remember which are frozen.

Keras hands `layer.trainable = False` on to the parts that a layer has at that
moment, and its configuration says whether the layer trains, not which of its
parts do. A layer that makes its parts in `build` would therefore train again
when it is loaded or cloned.
"""

import functools

import keras

from tfdeep.keras_internals import layers_of


class KeepsFrozenParts(keras.layers.Layer):
    """Adds frozen parts to the configuration of a layer, and applies them.

    To be inherited before other layers. Once `build` has made the parts:

        trainable=False     freezes all of them, as `layer.trainable = False`
                            does
        frozen_parts=[...]  freezes those of these numbers alone, in the order
                            in which the layer holds them; configurations name
                            them where they differ from the layer itself

    Args:
        frozen_parts: optional list of integers.
    """

    def __new__(cls, *args, **kwargs):
        layer = super().__new__(cls, *args, **kwargs)
        build = layer.build

        @functools.wraps(build)
        def build_and_freeze(*args, **kwargs):
            result = build(*args, **kwargs)
            layer._freeze_parts()
            return result

        layer.build = build_and_freeze
        return layer

    def __init__(self, *args, frozen_parts=None, **kwargs):
        super().__init__(*args, **kwargs)
        if frozen_parts is not None:
            frozen_parts = tuple(frozen_parts)
        self._frozen_parts = frozen_parts
        self._parts_are_frozen = False

    def _freeze_parts(self) -> None:
        """Apply what was asked for, when the layer is built for the first time.

        What is frozen by hand afterwards stays so when Keras builds again.
        """
        if self._parts_are_frozen:
            return
        self._parts_are_frozen = True
        if not self.trainable:
            # Of its parts, too: on TensorFlow an attribute is not set to what
            # it is.
            keras.Layer.trainable.fset(self, False)
        if self._frozen_parts is None:
            return
        for number, part in enumerate(layers_of(self)[1:]):
            trains = number not in self._frozen_parts
            if part.trainable != trains:
                part.trainable = trains

    def _parts_as_they_are(self):
        """The numbers of the frozen parts; `None` where they are as it is."""
        if not self._parts_are_frozen:
            return self._frozen_parts
        trains = [part.trainable for part in layers_of(self)[1:]]
        if all(each == self.trainable for each in trains):
            return None
        return [number for number, each in enumerate(trains) if not each]

    def get_config(self):
        config = super().get_config()
        frozen = self._parts_as_they_are()
        return config if frozen is None else {**config, "frozen_parts": frozen}
