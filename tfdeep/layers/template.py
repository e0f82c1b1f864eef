"""A layer that stands for many: the values of its variables come as arguments.

The layer itself is built, and its own values are never used. What has to be
known of a variable before it exists many times over is how it begins.
"""

import contextlib
from typing import Any

import keras

from tfdeep.keras_internals import initializer_of, layers_of
from tfdeep.layers.repeatable import check_kept, python_state
from tfdeep.layers.stacked import fold_seed, fold_seeds
from tfdeep.layers.stochastic_block import StochasticBlock
from tfdeep.layers.stochastic_depth import StochasticDepth
from tfdeep.masks import mask_of


class Template:
    """A layer as a function of the values of its variables.

    It is no Keras object, so that whoever holds it does not own its variables.

    Args:
        layer: the layer as it was given. It is not built, nor changed.
        survival: float, or `None` where copies are never dropped.
        seed: optional integer, for the decisions of a layer that takes none.
        dtype_policy: that of the decisions of such a layer.
        inverted: boolean, whether a kept copy is scaled in training.

    Attributes:
        given: the layer as it was given.
        layer: the layer of the same configuration that is called.
        variables: its variables, seeds among them.
        initializers: what each of them begins with.
        input_shape: the shape that the layer was built for.
        state: which of the variables a call may assign to.
        makes_masks: boolean, whether its output has a mask where its input
            has none.
        stacked: the variables that hold the copies' values, in that order.
    """

    def __init__(
        self,
        layer,
        survival: float | None,
        seed: int | None,
        dtype_policy=None,
        inverted: bool = False,
    ):
        self.given = layer
        self.inverted = inverted
        self.dtype_policy = dtype_policy
        self.survival = survival
        self.seed = seed
        self.layer: Any = None  # None until it is built.
        self.variables: list[keras.Variable] = []
        self.initializers: list = []
        self.input_shape: tuple | None = None
        self.state: list[int] = []
        self.makes_masks = False
        self.stacked: list[keras.Variable] = []

    @property
    def built(self) -> bool:
        """Whether there is a layer to call."""
        return self.layer is not None

    def build(self, inputs: keras.KerasTensor) -> None:
        """Build the layer for such an input, which it must keep as it is."""
        with without_distribution(), keras.StatelessScope():
            layer = self.copy()
            outputs = layer(inputs, training=True)
            check_kept(layer, outputs, inputs)
            self.makes_masks = mask_of(outputs) is not None
            self.initializers = [initializer_of(v) for v in layer.variables]
        self.layer, self.variables = layer, layer.variables
        self.input_shape = tuple(inputs.shape)
        self.state = [
            index for index, v in enumerate(self.variables) if not v.trainable
        ]

    def copy(self, number: int = 0, survival=None, name: str | None = None):
        """A new layer that is a copy, with the initial weights of that.

        Args:
            number: integer, that of the copy.
            survival: its probability of being kept, if it has one of its own.
            name: optional name, that of the layer by default.
        """
        if survival is None:
            survival = self.survival
        return copy_of(
            self.given,
            survival,
            self.seed,
            number,
            name,
            self.dtype_policy,
            self.inverted,
        )

    def name_of(self, variable) -> str:
        """The name of a variable within the layer, such as `conv.kernel`."""
        path = variable.path.split("/")
        if self.layer.name in path:
            path = path[path.index(self.layer.name) + 1 :]
        return ".".join(path)

    def is_seed(self, variable) -> bool:
        """Whether a variable is the state of a random stream."""
        return all(variable is not weight for weight in self.layer.weights)

    def call(self, values, inputs, survival=None, **arguments):
        """Call the layer on given values of its variables.

        Args:
            values: list of tensors, one per variable.
            inputs: the tensor it is called with.
            survival: optional scalar tensor, in place of the layer's own
                probability of being kept.
            **arguments: of the layer's call.

        Returns:
            `(outputs, new_values, losses)`; a new value is `None` where the
            call has left it as it was.
        """
        mapping = zip(self.variables, values, strict=True)
        with keras.StatelessScope(mapping, collect_losses=True) as scope:
            before = [scope.get_current_value(v) for v in self.variables]
            outputs = self._decide(survival, inputs, arguments)
            after = [scope.get_current_value(v) for v in self.variables]
        unchanged = zip(before, after, strict=True)
        return (
            outputs,
            [None if new is old else new for old, new in unchanged],
            scope.losses,
        )

    def _decide(self, survival, inputs, arguments):
        if survival is None:
            return self.layer(inputs, **arguments)
        decider = decider_of(self.layer)
        own, decider.survival_probability = (
            decider.survival_probability,
            survival,
        )
        try:
            return self.layer(inputs, **arguments)
        finally:
            decider.survival_probability = own

    def python_state(self) -> dict:
        """The plain values that the layer's parts keep in attributes."""
        return python_state(self.layer)


@contextlib.contextmanager
def without_distribution():
    """Variables made here have no layout: theirs is that of a stack."""
    current = keras.distribution.distribution()
    if current is None:
        yield
        return
    keras.distribution.set_distribution(None)
    try:
        yield
    finally:
        keras.distribution.set_distribution(current)


def copy_of(
    layer,
    survival: float | None,
    seed: int | None,
    copy: int = 0,
    name: str | None = None,
    dtype_policy=None,
    inverted: bool = False,
):
    """A new layer of a layer's configuration, with the seeds of a copy.

    Args:
        layer: any Keras layer with a configuration.
        survival: float, the probability of keeping it, or `None`.
        seed: optional integer, for the decisions of a layer that takes none.
        copy: integer, the number of the copy.
        name: optional name, that of the layer by default; a layer that takes
            none is given one by Keras.
        dtype_policy: that of the decisions of a layer that makes none.
        inverted: boolean, whether a kept copy is scaled in training.
    """
    config = fold_seeds(layer.get_config(), copy)
    decides = survival is not None and "survival_probability" in config
    if name and "name" in config and (survival is None or decides):
        config["name"] = name
    if decides:
        config["survival_probability"] = survival
        if inverted:
            config["inverted"] = True
    # A user's own classes inside need not be registered.
    parts = {type(part).__name__: type(part) for part in layers_of(layer)}
    with keras.saving.custom_object_scope(parts):
        result = _remade(layer, config)
    if survival is None or decides:
        return result
    if seed is not None:
        seed = fold_seed(seed, copy)
    # That of a model inside is the global one, whatever its layers have.
    dtype_policy = dtype_policy or result.dtype_policy
    return StochasticBlock(
        result, survival, seed, inverted, name=name, dtype=dtype_policy
    )


def _remade(layer, config):
    """A layer of this configuration, of the class of a layer."""
    try:
        return type(layer).from_config(config)
    except TypeError as error:
        kind = type(layer).__name__
        raise TypeError(
            f"The copies of a layer must be made from its configuration, so "
            f"`{kind}.__init__` must take every entry of `get_config()`: hand "
            "`**kwargs` on to `super().__init__`, for the name, the dtype and "
            f"whether it trains. Received: layer={layer.name!r} ({error})"
        ) from error


def decider_of(layer):
    """The part of a layer made by `copy_of` that decides whether to run.

    `None` for a residual block that always runs.
    """
    part = layer if isinstance(layer, StochasticDepth) else layer.branch
    return part if isinstance(part, StochasticDepth) else None
