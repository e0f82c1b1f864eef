"""Which branches get a layer: drop path of their own, exclusions, refusals."""

import keras
import numpy as np
import pytest
from keras import layers

import tfdeep
from tests.helpers import (
    images,
)
from tests.models.residual_nets import NETS, chain, data_for, own_drop_path
from tests.models.retrofitting import (
    ADD,
    added,
    described,
    each_form,
    outputs,
)
from tfdeep.layers import StochasticDepth
from tfdeep.models import (
    add_drop_path,
    add_stochastic_depth,
    find_residual_branches,
    remove_stochastic_depth,
)


class TestOwnDropPath:
    @each_form
    def test_it_is_replaced_and_comes_back(self, form):
        model = own_drop_path()
        new = ADD[form](model, seed=0)
        names = {layer.name for layer in tfdeep.keras_internals.layers_of(new)}
        assert {"drop1_set_aside", "drop2_set_aside"} <= names
        found = find_residual_branches(remove_stochastic_depth(new))
        assert [branch.drop_path for branch in found] == ["drop1", "drop2"]

    def test_nothing_is_dropped_twice(self):
        """A kept branch is scaled by ours alone."""
        model = own_drop_path()
        x = data_for("own drop path")[0]
        new = add_stochastic_depth(model, 1.0)
        np.testing.assert_array_equal(
            np.array(new(x, training=True)), outputs(model, x)
        )
        kept = add_stochastic_depth(model, exclude=["sum1"])
        rates = [
            layer.rate for layer in kept.layers if layer.name.startswith("drop")
        ]
        assert rates == [0.1]

    @each_form
    def test_what_was_added_is_replaced(self, form):
        model = own_drop_path()
        again = ADD[form](
            add_drop_path(add_stochastic_depth(model), 0.4), seed=0
        )
        once = ADD[form](model, seed=0)
        assert [layer.name for layer in again.layers] == [
            layer.name for layer in once.layers
        ]
        plain = remove_stochastic_depth(again)
        assert described(plain) == described(model)

    def test_the_layer_of_another_library(self):
        class DropPath(layers.Layer):
            def call(self, inputs, training=None):
                return inputs * 0.0 if training else inputs

        inputs = keras.Input((4,))
        y = DropPath(name="theirs")(layers.Dense(4)(inputs))
        model = keras.Model(inputs, inputs + y)
        (branch,) = find_residual_branches(model)
        assert branch.drop_path == "theirs"
        new = add_stochastic_depth(model, 1.0)
        x = images(2, 4)
        np.testing.assert_array_equal(
            np.array(new(x, training=True)), outputs(model, x)
        )

    def test_dropout_of_single_values_stays(self):
        new = add_stochastic_depth(chain())
        inner = added(new, "stochastic depth")[0].layer
        assert [type(layer) for layer in inner.layers][3] is layers.Dropout


class TestExclude:
    @each_form
    @pytest.mark.parametrize(
        "exclude", [["sum2"], ["b2_up"], ["b2_*"], "layer"]
    )
    def test_branches_are_left_as_they_are(self, form, exclude):
        model = chain()
        if exclude == "layer":
            exclude = [model.get_layer("b2_norm")]
        new = ADD[form](model, 0.4, exclude=exclude)
        found = added(new, form)
        numbers = [layer.name[-1] for layer in found]
        assert numbers == ["1", "3"]
        again = ADD[form](new, 0.4, exclude=exclude)  # Its layers are others.
        assert [layer.name for layer in again.layers] == [
            layer.name for layer in new.layers
        ]

    def test_within_a_nested_model(self):
        new = add_stochastic_depth(NETS["nested"][0](), exclude=["inner/*"])
        assert [each.name for each in added(new, "stochastic depth")] == [
            "stochastic_depth_4"
        ]

    @pytest.mark.parametrize("exclude", ["sum2", layers.Dense(3)])
    def test_no_list(self, exclude):
        with pytest.raises(TypeError, match="`exclude` must be a list"):
            add_stochastic_depth(chain(), exclude=exclude)

    @pytest.mark.parametrize("pattern", ["b9_up", "b9*"])
    def test_what_the_model_does_not_call(self, pattern):
        with pytest.raises(ValueError, match="b9"):
            add_stochastic_depth(chain(), exclude=[pattern])

    def test_what_is_in_no_branch(self):
        with pytest.raises(ValueError, match="'out', which is in none"):
            add_drop_path(chain(), exclude=["out"])


class TestRefused:
    @each_form
    def test_a_model_without_branches(self, form):
        model = keras.Sequential([keras.Input((4,)), layers.Dense(4)])
        with pytest.raises(ValueError, match="must have residual branches"):
            ADD[form](model)

    @pytest.mark.parametrize("last", [-0.1, 1.5, "0.5"])
    def test_probabilities(self, last):
        with pytest.raises(ValueError, match="`last`"):
            add_stochastic_depth(chain(), last)
        with pytest.raises(ValueError, match="`rate`"):
            add_drop_path(chain(), last)

    def test_stochastic_depth_of_ones_own(self):
        inputs = keras.Input((4,))
        own = StochasticDepth(layers.Dense(4), 0.5, name="own")
        model = keras.Model(inputs, inputs + own(inputs))
        with pytest.raises(ValueError, match="a model with own"):
            add_stochastic_depth(model)
        plain = remove_stochastic_depth(model)
        assert "own" in [layer.name for layer in plain.layers]

    @pytest.mark.parametrize("change", [*ADD.values(), remove_stochastic_depth])
    def test_no_model(self, change):
        with pytest.raises(TypeError, match="`model` must be a keras.Model"):
            change(layers.Dense(3))
