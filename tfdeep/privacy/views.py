"""Augmentation multiplicity: several views of an example, one gradient."""

import keras
from keras import ops, tree

from tfdeep import backend
from tfdeep.checks import check_positive
from tfdeep.keras_internals import layers_of
from tfdeep.layers.held import build_held, shapes_of
from tfdeep.privacy.frozen import Frozen
from tfdeep.privacy.per_example.isolation import layer_isolates

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
                "`layer` must be a Keras layer, by which views are made. "
                f"Received: layer={type(layer).__name__}. Pass for example "
                "keras.layers.RandomFlip()."
            )
        if any(isinstance(each, MIXING) for each in layers_of(layer)):
            raise ValueError(
                "`layer` must augment each example by itself: where it mixes "
                "examples with each other, a gradient belongs to several, "
                "and no clip bounds what one of them does. Received: "
                f"layer={layer.name!r}. Use flips, shifts, noise."
            )
        self.layer = layer
        self.count = int(count)

    def shown(self, x, state: list) -> tuple:
        """The views of a batch, those of each example one after the other.

        A layer that is not known to keep examples apart is called on the
        views of one example at a time.

        Args:
            x: inputs, a row per example.
            state: values of the layer's variables, its random streams.

        Returns:
            `(views, new state)`.
        """
        self._check_no_weights(x)
        if layer_isolates(self.layer, min(map(rank_of, tree.flatten(x)))):
            return self._augmented(self._repeated(x), state)
        leaves = tree.flatten(x)

        def step(state, leaves):
            one = [ops.expand_dims(each, 0) for each in leaves]
            views, state = self._augmented(
                self._repeated(tree.pack_sequence_as(x, one)), state
            )
            return state, tree.flatten(views)

        state, found = backend.scan(step, list(state), leaves)
        rows = [ops.reshape(each, (-1, *each.shape[2:])) for each in found]
        return tree.pack_sequence_as(x, rows), state

    def _check_no_weights(self, x) -> None:
        """Raise for what would keep something of raw examples."""
        build_held(self.layer, shapes_of(x))
        if self.layer.weights:
            names = ", ".join(weight.path for weight in self.layer.weights)
            raise ValueError(
                "`layer` must have no weights: what it keeps of examples "
                "would be released without noise. Received: "
                f"{self.layer.name!r} with {names}"
            )

    def _augmented(self, x, state):
        views, state, _ = backend.stateless_call(
            self.layer, [], state, x, training=True
        )
        return views, state

    def _repeated(self, x):
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


def rank_of(tensor) -> int:
    """How many axes a tensor has."""
    return len(tensor.shape)
