"""What an optimizer keeps for each weight, handed over to other weights."""

from collections.abc import Callable
from typing import Any, NamedTuple

from keras import ops

from tfdeep.keras_internals import (
    copy_exclusions,
    exclude,
    excluded_by,
    key_of,
    scalars_of,
    slots_of,
    weights_of,
)
from tfdeep.optimizers.wrapper import innermost


class Source(NamedTuple):
    """Where the value of a weight comes from.

    Args:
        weights: the variables that it was: one, or several that become one.
        cut: what is made of their values; `None` where one stays as it is.
    """

    weights: tuple
    cut: Callable | None = None

    def value(self, values: list) -> Any:
        """What becomes of values of the variables, or of their slots."""
        # JAX gives the memory of weights away when a model trains.
        return self.cut(*values) if self.cut else ops.copy(values[0])


def hand_over(old: Any, new: Any, sources: dict[int, Source]) -> list[str]:
    """Give an optimizer what another one keeps for the weights it came from.

    Slots of the shape of their weight follow it, cut as it was; others only
    where it was not cut.

    Args:
        old: a built optimizer.
        new: a built optimizer of the same class and settings, or of that
            of one inside.
        sources: where the weights of the new one come from, by their `id`.

    Returns:
        The paths of the weights for which it starts from zero.
    """
    while type(old) is not type(new) and hasattr(old, "inner_optimizer"):
        old = old.inner_optimizer
    theirs, ours = scalars_of(old), scalars_of(new)
    for name, value in ours.items():
        if name in theirs and theirs[name].shape == value.shape:
            value.assign(ops.copy(theirs[name].value))
    index = {id(v): number for number, v in enumerate(weights_of(old))}
    kept = slots_of(old)
    restarted = set()
    for name, slots in slots_of(new).items():
        for weight, slot in zip(weights_of(new), slots, strict=True):
            source = sources.get(id(weight))
            if slot is None or source is None:
                continue
            numbers = [index.get(id(v)) for v in source.weights]
            before = [None if n is None else kept[name][n] for n in numbers]
            value = _value(before, source)
            if value is None or tuple(value.shape) != tuple(slot.shape):
                restarted.add(weight.path)
            else:
                slot.assign(value)
    if hasattr(old, "inner_optimizer"):
        inner = old.inner_optimizer, new.inner_optimizer
        restarted.update(hand_over(*inner, sources))
    return sorted(restarted)


def exclude_alike(old: Any, new: Any, weights, sources) -> None:
    """What does not decay goes on so, under the names of the new weights."""
    old, new = innermost(old), innermost(new)
    copy_exclusions(old, new)
    keys = excluded_by(old)
    found = {
        key_of(new, weight)
        for weight in weights
        if (source := sources.get(id(weight)))
        and key_of(old, source.weights[0]) in keys
    }
    if found:
        exclude(new, found)


def _value(slots: list, source: Source):
    """What becomes of slots; `None` where that cannot be said."""
    if any(slot is None for slot in slots):
        return None
    alike = all(
        slot.shape == weight.shape
        for slot, weight in zip(slots, source.weights, strict=True)
    )
    if source.cut is not None and not alike:
        return None
    return source.value([slot.value for slot in slots])
