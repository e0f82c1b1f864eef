"""Checks of arguments that would otherwise fail silently or far away."""

import math
from collections.abc import Iterable
from numbers import Integral, Real
from typing import Any

import keras
import numpy as np


def check_probability(name: str, value: float) -> None:
    """Raise `ValueError` unless `value` is a number in [0, 1]."""
    number = isinstance(value, Real) and not isinstance(value, bool)
    if not number or not 0.0 <= float(value) <= 1.0:
        raise ValueError(
            f"`{name}` must be a number in [0, 1]. Received: "
            f"{name}={value!r}. Pass a probability, such as 0.5."
        )


def check_number(
    name: str, value: Any, least: float | None = None, example: float = 0.1
) -> None:
    """Raise `ValueError` unless `value` is finite and at least `least`.

    The message names `example`, a value that would do.
    """
    number = isinstance(value, Real) and not isinstance(value, bool)
    finite = number and math.isfinite(value)
    if not finite or (least is not None and value < least):
        wanted = "a finite number"
        wanted += "" if least is None else f" from {least}"
        raise ValueError(
            f"`{name}` must be {wanted}. Received: {name}={value!r}. Pass for "
            f"example {example:g}."
        )


def check_boolean(name: str, value: Any) -> None:
    """Raise `ValueError` unless `value` is `True` or `False`."""
    if not isinstance(value, bool):
        raise ValueError(
            f"`{name}` must be a boolean. Received: {name}={value!r}. Pass "
            "True or False."
        )


def check_labels(
    labels: Any, classes: int, output: str | int | None = None
) -> None:
    """Raise `ValueError` unless an array numbers so many classes from 0.

    The message names the `output` they are for, if there are several.
    """
    if labels.size and not 0 <= labels.min() <= labels.max() < classes:
        whose = "" if output is None else f" of the output {output!r}"
        raise ValueError(
            f"The labels{whose} must be numbers from 0 to {classes - 1} for a "
            f"loss of {classes} classes. Received: labels from {labels.min()} "
            f"to {labels.max()}. Number the classes so, or tell more of them "
            "apart."
        )


def check_positive(name: str, value: int) -> None:
    """Raise `ValueError` unless `value` is a positive integer."""
    integer = isinstance(value, Integral) and not isinstance(value, bool)
    if not integer or int(value) < 1:
        raise ValueError(
            f"`{name}` must be a positive integer. Received: "
            f"{name}={value!r}. Pass a whole number of at least 1."
        )


def check_whole(name: str, value: int, least: int | None = None) -> None:
    """Raise `ValueError` unless `value` is an integer of at least `least`."""
    integer = isinstance(value, Integral) and not isinstance(value, bool)
    if not integer or (least is not None and int(value) < least):
        bounded = least is not None
        raise ValueError(
            f"`{name}` must be an "
            f"integer{f' from {least}' if bounded else ''}. Received: "
            f"{name}={value!r}. Pass a whole "
            f"number{f' of at least {least}' if bounded else ''}."
        )


def check_choice(name: str, value: object, choices: Iterable) -> None:
    """Raise `ValueError` unless `value` is one of `choices`.

    0 equals False and 1 equals True, and are neither: where it is asked for
    one or the other, `is` decides.
    """
    choices = list(choices)
    equal = [choice for choice in choices if choice == value]
    if all(isinstance(e, bool) and not isinstance(value, bool) for e in equal):
        listed = ", ".join(repr(choice) for choice in choices)
        raise ValueError(
            f"`{name}` must be one of {listed}. Received: {name}={value!r}. "
            "Pass one of these."
        )


def check_seed(seed: int | None) -> None:
    """Raise `ValueError` unless `seed` is a whole number from 0, or None."""
    integer = isinstance(seed, Integral) and not isinstance(seed, bool)
    if seed is not None and not (integer and int(seed) >= 0):
        raise ValueError(
            "`seed` must be a whole number of at least 0, or None. Received: "
            f"seed={seed!r}. Pass for example 0."
        )


def check_no_tensor(name: str, value: Any, way_out: str) -> None:
    """Raise `TypeError` if a layer is made of the tensor that it is for.

    The message ends in `way_out`, how the layer is made and then called.
    """
    arrays = keras.KerasTensor, keras.Variable, np.ndarray
    if isinstance(value, arrays) or keras.ops.is_tensor(value):
        raise TypeError(
            f"`{name}` must not be a tensor: a layer is made first, and then "
            f"called on tensors. Received: {name}=a tensor of shape "
            f"{tuple(value.shape)}. Write {way_out}."
        )


def check_images(layer, input_shape) -> None:
    """Raise `ValueError` unless the shape is that of a batch of images."""
    if len(input_shape) != 4:
        raise ValueError(
            f"The input of {type(layer).__name__} must be images, a tensor of "
            f"rank 4. Received: shape {tuple(input_shape)}. Add the missing "
            "axis, or use a layer for this rank."
        )
    if input_shape[layer.channel_axis] is None:
        raise ValueError(
            f"The input of {type(layer).__name__} must have a known number of "
            "channels, for its weights. Received: shape "
            f"{tuple(input_shape)}. Give it in the model's Input."
        )
