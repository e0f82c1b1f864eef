"""Optimizers whose rule takes the weights of a layer as a whole.

The copies of a `Repeat` have one variable for all of them, whose norm or
matrix is not that of a layer.
"""

import warnings
from typing import Any

import keras

from tfdeep.keras_internals import layers_of
from tfdeep.layers.repeat import Repeat
from tfdeep.optimizers.wrapper import innermost

# A trust ratio, factors of the second moment, an orthogonal update.
RULES = ("Adafactor", "Lamb", "Muon")


def warn_of_optimizer(model: keras.Layer, optimizer: Any) -> None:
    """Warn where a model with `Repeat` trains otherwise than a plain one.

    Args:
        model: any model.
        optimizer: a Keras optimizer, or `None`.
    """
    inner = innermost(optimizer)
    rule = next(
        (name for name in RULES if _is(inner, name)),
        "clipnorm" if getattr(inner, "clipnorm", None) else None,
    )
    repeats = [each for each in layers_of(model) if isinstance(each, Repeat)]
    if rule is None or not repeats:
        return
    how = "`clipnorm`" if rule == "clipnorm" else rule
    warnings.warn(
        f"{how} takes the weights of a layer as a whole, and those of all "
        f"{repeats[0].num_repeats} copies of '{repeats[0].name}' are one "
        "variable: the model will not train as the same layers in a row do. "
        "Convert it with tfdeep.models.unstack(model), or use an optimizer "
        "that updates each weight by itself, such as AdamW"
        f"{' with `global_clipnorm`' if rule == 'clipnorm' else ''}.",
        stacklevel=3,
    )


def _is(optimizer, name: str) -> bool:
    kind = getattr(keras.optimizers, name, None)
    return kind is not None and isinstance(optimizer, kind)
