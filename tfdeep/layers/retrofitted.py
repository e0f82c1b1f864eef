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
    """`StochasticDepth` around a branch that was taken out of a model."""


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
        self.supports_masking = True

    def call(self, inputs):
        return inputs

    def compute_output_shape(self, input_shape):
        return input_shape
