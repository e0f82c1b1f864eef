"""The copies of a `Repeat` as plain layers, and back.

A copy has the configuration of the repeated layer, with seeds of its own, and
the values that are stacked now.
"""

from tfdeep.keras_internals import layers_of
from tfdeep.layers.held import build_held
from tfdeep.layers.repeat import Repeat
from tfdeep.layers.template import decider_of


def copies(repeat: Repeat, prefix: str | None = None) -> list:
    """Plain layers that do what a `Repeat` does, one after the other.

    They have the weights, batch statistics and random streams of the copies
    as they are now.

    Args:
        repeat: a built layer.
        prefix: what their names begin with, before a number; by default the
            name of `repeat`.

    Raises:
        ValueError: if the weights do not fit the configuration any more.
    """
    template = repeat.template
    survival = repeat.survival_probabilities
    layers = []
    for copy in range(repeat.num_repeats):
        layer = template.copy(
            copy,
            None if survival is None else survival[copy],
            f"{prefix or repeat.name}_{copy + 1}",
        )
        build_held(layer, template.input_shape)
        if not repeat.trainable:
            layer.trainable = False
        layers.append(layer)
    for variable, stack, copy in values_of_copies(repeat, layers):
        variable.assign(stack.value[copy])
    return layers


def values_of_copies(repeat: Repeat, layers: list) -> list[tuple]:
    """Where the variables of the layers are in those of a `Repeat`.

    Args:
        repeat: a built layer.
        layers: one per copy, as `copies` makes them.

    Returns:
        A triple for each variable of the layers: it, the stacked variable, and
        the number of the copy.

    Raises:
        ValueError: if a layer's weights do not fit its configuration.
    """
    return [
        (variable, repeat.template.stacked[index], copy)
        for copy, layer in enumerate(layers)
        for index, variable in pairs(layer, repeat.template)
    ]


def copy_sizes(model) -> dict[int, tuple[int, ...]]:
    """How many copies the variables of a model stand for.

    Returns:
        For each variable of a `Repeat`, by its `id`, the sizes of its leading
        axes that count copies: two of them for a `Repeat` within another.
    """
    found: dict[int, tuple[int, ...]] = {}
    for repeat in layers_of(model):
        if not (isinstance(repeat, Repeat) and repeat.built):
            continue
        inner = copy_sizes(repeat.template.layer)
        for stack, variable in zip(
            repeat.template.stacked, repeat.template.variables, strict=True
        ):
            within = inner.get(id(variable), ())
            found[id(stack)] = (repeat.num_repeats, *within)
    return found


def pairs(layer, template) -> list:
    """The variables of a plain layer, each with its number in the template.

    Raises:
        ValueError: unless they are those that the template has.
    """
    kept = list(enumerate(template.variables))
    if template.survival is not None and decider_of(layer) is None:
        # A block that always runs has no random stream to decide with.
        decider = decider_of(template.layer)
        kept = [
            (index, variable)
            for index, variable in kept
            if variable is not decider.seed_generator.state
        ]
    found = [tuple(v.shape) for v in layer.variables]
    wanted = [tuple(v.shape) for _, v in kept]
    if found != wanted:
        raise ValueError(
            f"The layer '{layer.name}' must have the weights that its "
            f"configuration gives, of shapes {wanted}. Received: shapes "
            f"{found}, so that it was changed by hand. Convert before "
            "changing it, or make a layer class of the change."
        )
    numbers = (index for index, _ in kept)
    return list(zip(numbers, layer.variables, strict=True))
