"""What the tests of added stochastic depth and drop path share."""

import keras
import numpy as np
import pytest

from tests.models.residual_nets import NETS
from tfdeep.inside import without_names
from tfdeep.layers import DropPath, StochasticDepth
from tfdeep.models import add_drop_path, add_stochastic_depth

ADD = {"stochastic depth": add_stochastic_depth, "drop path": add_drop_path}
KIND = {"stochastic depth": StochasticDepth, "drop path": DropPath}
each_net = pytest.mark.parametrize("name", NETS)
each_form = pytest.mark.parametrize("form", ADD)


def added(model, form) -> list:
    """The layers of ours in a model and in the models inside it."""
    found = []
    for layer in model.layers:
        if isinstance(layer, KIND[form]):
            found.append(layer)
            inner = getattr(layer, "layer", None)
            found += added(inner, form) if inner else []
        elif isinstance(layer, keras.Model):
            found += added(layer, form)
    return found


def outputs(model, x):
    return np.array(model(x, training=False))


def described(model) -> list:
    """Names and configurations, but for the numbers that Keras counts."""
    found = []
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            found.append((layer.name, described(layer)))
        elif isinstance(layer, keras.Layer):
            found.append((layer.name, without_names(layer.get_config())))
        else:
            found.append(type(layer).__name__)
    return found
