"""Checks of arguments that would otherwise fail silently or far away."""

from collections.abc import Iterable
from numbers import Real


def check_probability(name: str, value: float) -> None:
    """Raise `ValueError` unless `value` is a number in [0, 1]."""
    number = isinstance(value, Real) and not isinstance(value, bool)
    if not number or not 0.0 <= float(value) <= 1.0:
        raise ValueError(
            f"`{name}` came as {value!r}. It must be a number in [0, 1]. "
            "Pass a probability, such as 0.5."
        )


def check_positive(name: str, value: int) -> None:
    """Raise `ValueError` unless `value` is a positive integer."""
    integer = isinstance(value, int) and not isinstance(value, bool)
    if not integer or value < 1:
        raise ValueError(
            f"`{name}` came as {value!r}. It must be a positive integer. "
            "Pass a whole number of at least 1."
        )


def check_choice(name: str, value: object, choices: Iterable) -> None:
    """Raise `ValueError` unless `value` is one of `choices`."""
    choices = list(choices)
    if value not in choices:
        listed = ", ".join(repr(choice) for choice in choices)
        raise ValueError(
            f"`{name}` came as {value!r}. It must be one of {listed}. "
            "Pass one of these."
        )
