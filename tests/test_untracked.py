"""What Keras must not see in a layer, model or optimizer, it does not see."""

import copy

import keras
import pytest

from tfdeep.untracked import Untracked


def model() -> keras.Model:
    return keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)])


@pytest.mark.parametrize(
    "owner", [model, lambda: keras.layers.Dense(2), keras.optimizers.Adam]
)
def test_nothing_is_tracked_or_changed(owner):
    thing, inside = owner(), [model(), {"a": [keras.Variable(1.0)]}]
    before = len(thing.variables)
    thing.held = Untracked(inside)
    assert thing.held.value is inside and type(inside[1]["a"]) is list
    assert len(thing.variables) == before


def test_it_is_in_no_file(tmp_path):
    plain, holding = model(), model()
    holding.held = Untracked(keras.layers.Dense(5))
    holding.held.value.build((None, 5))
    holding.save_weights(tmp_path / "holding.weights.h5")
    plain.load_weights(tmp_path / "holding.weights.h5")


def test_it_is_copied_with_its_owner():
    first = Untracked([1])
    second = copy.deepcopy(first)
    second.value.append(2)
    assert (first.value, second.value) == ([1], [1, 2])
