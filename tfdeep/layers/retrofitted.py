"""The layers that `tfdeep.models.add_stochastic_depth` puts into a model.

They do what their parents do. That they are of these classes says that
somebody else's model was changed, and how it was, also after it is loaded:
`tfdeep.models.remove_stochastic_depth` goes by it.
"""

import keras

from tfdeep.layers.drop_path import DropPath
from tfdeep.layers.stochastic_depth import StochasticDepth


@keras.saving.register_keras_serializable(package="tfdeep")
class AddedStochasticDepth(StochasticDepth):
    """`StochasticDepth` around a branch that was taken out of a model.

    Args:
        layer: a model of the branch.
        survival_probability: as of `StochasticDepth`.
        seed: as of `StochasticDepth`.
        inverted: as of `StochasticDepth`.
        masked: boolean, whether what the branch returns has the mask of its
            input. A layer within it may have ended that.
        **kwargs: `name` and further arguments of a Keras layer.

    Call arguments:
        inputs: the branch's input tensor.
        mask: as of `StochasticDepth`.
        training: as of `StochasticDepth`.
        survival_probability: optional float, that of this call, where a model
            has the same branch several times.
    """

    def __init__(
        self,
        layer,
        survival_probability: float,
        seed: int | None = None,
        inverted: bool = False,
        masked: bool = False,
        **kwargs,
    ):
        super().__init__(layer, survival_probability, seed, inverted, **kwargs)
        self.masked = self.supports_masking = layer.supports_masking = masked

    def call(self, inputs, mask=None, training=None, survival_probability=None):
        own = self.survival_probability
        if survival_probability is not None:
            self.survival_probability = survival_probability
        try:
            return super().call(inputs, mask=mask, training=training)
        finally:
            self.survival_probability = own

    def compute_mask(self, inputs, mask=None):
        return mask if self.masked else None

    def get_config(self):
        return {**super().get_config(), "masked": self.masked}


@keras.saving.register_keras_serializable(package="tfdeep")
class AddedDropPath(DropPath):
    """`DropPath` at the end of a branch that had none of this rate."""


@keras.saving.register_keras_serializable(package="tfdeep")
class SetAside(keras.layers.Wrapper):
    """A layer that no longer does anything, kept to be put back.

    Args:
        layer: a layer that is the identity at inference.
        **kwargs: `name` and further arguments of a Keras layer.

    Call arguments:
        inputs: tensor, which is returned.

    Input shape:
        Any.

    Output shape:
        That of the input.
    """

    def __init__(self, layer, **kwargs):
        super().__init__(layer, autocast=False, **kwargs)
        self.supports_masking = layer.supports_masking

    def call(self, inputs):
        return inputs

    def compute_output_shape(self, input_shape):
        return input_shape
