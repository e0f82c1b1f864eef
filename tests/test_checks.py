"""The messages of the argument checks."""

import numpy as np
import pytest

from tfdeep.checks import (
    check_boolean,
    check_choice,
    check_images,
    check_labels,
    check_number,
    check_positive,
    check_probability,
    check_seed,
    check_whole,
)
from tfdeep.layers.units import ConvUnits


@pytest.mark.parametrize("value", [0, 1, 0.0, 0.5, 1.0, np.float32(0.25)])
def test_a_probability_passes(value):
    assert check_probability("p", value) is None


@pytest.mark.parametrize(
    "value",
    [-1e-9, 1.0001, float("nan"), float("inf"), "0.5", None, True, [0.5]],
)
def test_no_probability(value):
    with pytest.raises(ValueError) as error:
        check_probability("p", value)
    assert str(error.value) == (
        f"`p` must be a number in [0, 1]. Received: p={value!r}. "
        "Pass a probability, such as 0.5."
    )


@pytest.mark.parametrize("value", [1, 2, 10**9, np.int64(3)])
def test_a_positive_integer_passes(value):
    assert check_positive("n", value) is None


@pytest.mark.parametrize("value", [0, -3, 1.0, "1", None, True])
def test_no_positive_integer(value):
    with pytest.raises(ValueError) as error:
        check_positive("n", value)
    assert str(error.value) == (
        f"`n` must be a positive integer. Received: n={value!r}. "
        "Pass a whole number of at least 1."
    )


def test_a_choice_passes():
    assert check_choice("form", "b", iter("ab")) is None


@pytest.mark.parametrize("value", [0, 1, 1.0, np.False_, np.True_])
def test_what_equals_a_boolean_is_none(value):
    """`is` decides between booleans, and would take it for neither."""
    with pytest.raises(ValueError, match="must be one of 'auto', True, False"):
        check_choice("stacked", value, ("auto", True, False))
    for choice in ("auto", True, False):
        check_choice("stacked", choice, ("auto", True, False))
    check_choice("verbose", True, (0, 1, 2))  # Keras takes it for 1.


@pytest.mark.parametrize("value", ["c", None, 1])
def test_no_choice(value):
    with pytest.raises(ValueError) as error:
        check_choice("form", value, ("a", "b"))
    assert str(error.value) == (
        f"`form` must be one of 'a', 'b'. Received: form={value!r}. "
        "Pass one of these."
    )


@pytest.mark.parametrize("value", [-3, 0, 7, np.int32(2)])
def test_a_whole_number_passes(value):
    assert check_whole("depth", value) is None


@pytest.mark.parametrize("value", ["20", None, 20.0, float("nan"), [18], True])
def test_no_whole_number(value):
    with pytest.raises(ValueError) as error:
        check_whole("depth", value)
    assert str(error.value) == (
        f"`depth` must be an integer. Received: depth={value!r}. "
        "Pass a whole number."
    )


@pytest.mark.parametrize("value", [-1, 1.5, "2", True])
def test_no_whole_number_of_at_least(value):
    assert check_whole("overlap", 0, least=0) is None
    with pytest.raises(ValueError) as error:
        check_whole("overlap", value, least=0)
    assert str(error.value) == (
        f"`overlap` must be an integer from 0. Received: overlap={value!r}. "
        "Pass a whole number of at least 0."
    )


@pytest.mark.parametrize("value", [None, 0, 3, np.int64(5)])
def test_a_seed_passes(value):
    assert check_seed(value) is None


@pytest.mark.parametrize("value", ["abc", 1.5, -1, True])
def test_no_seed(value):
    with pytest.raises(ValueError) as error:
        check_seed(value)
    assert str(error.value) == (
        "`seed` must be a whole number of at least 0, or None. "
        f"Received: seed={value!r}. Pass for example 0."
    )


@pytest.mark.parametrize(
    "shape,message",
    [
        ((None, 8), "must be images, a tensor of rank 4"),
        ((None, 8, 8, None), "a known number of channels"),
    ],
)
def test_no_images(shape, message):
    layer = ConvUnits(data_format="channels_last")
    with pytest.raises(ValueError, match=message):
        check_images(layer, shape)
    assert check_images(layer, (None, None, None, 3)) is None


@pytest.mark.parametrize("value", [0, 0.5, np.float32(2)])
def test_a_number_passes(value):
    assert check_number("x", value, least=0) is None


@pytest.mark.parametrize("value", [-1, float("nan"), float("inf"), "1", True])
def test_no_number(value):
    with pytest.raises(ValueError, match="must be a finite number from 0"):
        check_number("x", value, least=0)


def test_the_example_in_the_message_can_be_chosen():
    with pytest.raises(ValueError, match="Pass for example 1e-05"):
        check_number("delta", "1e-5", example=1e-5)


@pytest.mark.parametrize("value", ["False", 0, 1.0, None, np.True_])
def test_no_boolean(value):
    assert check_boolean("b", True) is None
    with pytest.raises(ValueError, match="must be a boolean"):
        check_boolean("b", value)


def test_labels_of_known_classes_pass():
    assert check_labels(np.array([0, 2]), 3) is None
    assert check_labels(np.array([]), 3) is None


@pytest.mark.parametrize("labels", [[-1, 0], [0, 3]])
def test_labels_of_unknown_classes(labels):
    with pytest.raises(ValueError, match="numbers from 0 to 2"):
        check_labels(np.array(labels), 3)
