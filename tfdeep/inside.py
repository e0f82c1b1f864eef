"""Questions about a model that Keras has the words for, not the function."""

from typing import Any

import keras


def is_graph(model: Any) -> bool:
    """Whether it is a Functional or Sequential model with known inputs.

    A subclass with a `call` of its own is none: what it computes is not in the
    inputs and outputs that it was made from.
    """
    return (
        isinstance(model, keras.Model)
        and bool(getattr(model, "inputs", None))
        and "call" not in vars(model)
        and _definer(type(model), "call").__module__.startswith("keras.")
    )


def plain_of(model: Any) -> Any:
    """The model inside all wrappers of this package, itself if there is none.

    A wrapper says so by `wraps_base`; a user's class may have a `base`, too,
    which is a part of it.
    """
    while getattr(type(model), "wraps_base", False):
        model = model.base
    return model


def _definer(kind: type, name: str) -> type:
    """The class of which a method is."""
    return next(each for each in kind.__mro__ if name in vars(each))


def trains_another_loss(model: Any) -> bool:
    """Whether it is a wrapper that trains its `base` with a changed loss.

    The wrappers of `tfdeep.training` say so by `changes_loss`.
    """
    return getattr(type(model), "changes_loss", False)


def own_methods(model: keras.Model, *names: str) -> list[str]:
    """Which of these methods are not those of `keras.Model`."""
    return [
        name
        for name in names
        if name in vars(model)
        or getattr(type(model), name) is not getattr(keras.Model, name)
    ]


def without_names(config: Any) -> Any:
    """A configuration without the names and seeds in it, at any depth."""
    if isinstance(config, (list, tuple)):
        return [without_names(part) for part in config]
    if not isinstance(config, dict):
        return config
    return {
        key: without_names(value)
        for key, value in sorted(config.items())
        if key not in ("name", "seed")
    }


class Reads(keras.StatelessScope):
    """A scope that notes which variables are read by hand.

    Where a model or layer is called with symbols, the layers within it compute
    shapes alone: what is read then is read outside of them, and would become a
    constant of whatever is traced.

    Args:
        state_mapping: as of `keras.StatelessScope`.
        initialize_variables: likewise.

    Attributes:
        variables: the variables that were read.
    """

    def __init__(self, state_mapping=None, initialize_variables=True):
        super().__init__(
            state_mapping, initialize_variables=initialize_variables
        )
        self.variables: list = []

    def get_current_value(self, variable):
        if all(variable is not each for each in self.variables):
            self.variables.append(variable)
        return super().get_current_value(variable)
