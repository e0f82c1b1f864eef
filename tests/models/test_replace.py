"""Other layers in the place of some: which, how they are made, what is kept."""

import keras
import numpy as np
import pytest
from keras import layers

import tfdeep
from tests.helpers import arrays
from tfdeep.layers import WeightStandardizedConv2D
from tfdeep.models import replace

X = np.random.default_rng(0).normal(size=(6, 4)).astype("float32")
Y = np.random.default_rng(1).normal(size=(6, 2)).astype("float32")


@keras.saving.register_keras_serializable("tests")
class Doubled(layers.Dense):
    """Twice what a Dense returns."""

    def call(self, inputs, training=None):
        return 2 * super().call(inputs, training=training)


def small(**kwargs):
    return keras.Sequential(
        [
            keras.Input((4,)),
            layers.Dense(3, name="low", **kwargs),
            layers.ReLU(name="relu"),
            layers.Dense(2, name="high", **kwargs),
        ]
    )


def nested():
    """A layer called twice, and a model called twice that has layers, too."""
    block = keras.Sequential(
        [
            keras.Input((4,)),
            layers.Dense(4, "relu", name="dense"),
            layers.ReLU(name="relu"),
        ],
        name="block",
    )
    shared = layers.Dense(4, name="shared")
    inputs = keras.Input((4,))
    x = block(shared(block(shared(inputs))))
    x = layers.Add(name="add")([x, keras.ops.sin(x)])
    return keras.Model(inputs, layers.Dense(2, name="out")(x))


def kinds(model) -> dict[str, str]:
    """The classes of all layers by name."""
    found = {}
    for layer in model.layers:
        found[layer.name] = type(layer).__name__
        if isinstance(layer, keras.Model):
            found.update(kinds(layer))
    return found


def test_a_class_gets_the_shared_arguments_and_the_weights():
    model = small(use_bias=False, kernel_regularizer="l2")
    new = replace(model, {layers.Dense: Doubled})
    assert kinds(new) == {"low": "Doubled", "relu": "ReLU", "high": "Doubled"}
    low = new.get_layer("low")
    assert low.units == 3 and not low.use_bias
    assert isinstance(low.kernel_regularizer, keras.regularizers.L2)
    for old, now in zip(model.get_weights(), new.get_weights(), strict=True):
        np.testing.assert_array_equal(now, old)
    np.testing.assert_allclose(
        np.array(new(X)), 4 * np.array(model(X)), rtol=1e-6
    )
    assert kinds(model)["low"] == "Dense"


def test_new_weights_are_new():
    model = small()
    new = replace(model, {"low": Doubled}, weights="new")
    low = np.array(new.get_layer("low").kernel)
    assert not np.array_equal(low, np.array(model.get_layer("low").kernel))
    assert arrays(new.get_layer("high").weights)[0].tolist() == (
        arrays(model.get_layer("high").weights)[0].tolist()
    )


def test_only_equal_names_and_shapes_match():
    """A PReLU in the place of a ReLU, and a wider Dense at the end."""
    model = small()
    new = replace(
        model,
        {
            layers.ReLU: lambda layer: layers.PReLU(name="p"),
            "high": lambda layer: layers.Dense(5, bias_initializer="ones"),
        },
    )
    assert new.output_shape == (None, 5)
    np.testing.assert_array_equal(np.array(new.layers[1].alpha), np.zeros(3))
    np.testing.assert_array_equal(np.array(new.layers[2].bias), np.ones(5))


def test_parts_of_a_layer_are_matched_by_their_own_names():
    """Keras numbers parts; those of the same name come in their order."""

    def recurrent():
        both = layers.Bidirectional(layers.LSTM(3), name="both")
        return keras.Sequential([keras.Input((5, 4)), both])

    model = recurrent()
    again = {layers.Bidirectional: layers.Bidirectional}
    new = replace(replace(model, again), again)
    assert len(new.weights) == 6
    for old, now in zip(model.get_weights(), new.get_weights(), strict=True):
        np.testing.assert_array_equal(now, old)


def test_nested_and_shared_layers_are_replaced_once():
    model = nested()
    new = replace(model, {layers.Dense: Doubled, layers.ReLU: layers.ELU})
    assert set(kinds(new).values()) == {
        "InputLayer", "Doubled", "ELU", "Sequential", "Add",
    }  # fmt: skip
    assert len(new.weights) == len(model.weights) == 6
    for old, now in zip(model.get_weights(), new.get_weights(), strict=True):
        np.testing.assert_array_equal(now, old)


@pytest.mark.parametrize(
    ("pattern", "replaced"),
    [
        ("block/dense", {"dense"}),
        ("dense", {"dense"}),
        ("shared", {"shared"}),
        ("block/*", {"dense"}),
        ("*d*", {"dense", "shared"}),
        ("[os]*", {"out", "shared"}),
    ],
)
def test_patterns_are_of_paths(pattern, replaced):
    def doubled(layer):
        if not isinstance(layer, layers.Dense):
            return None
        return Doubled.from_config(layer.get_config())

    found = kinds(replace(nested(), {pattern: doubled}))
    assert {n for n, kind in found.items() if kind == "Doubled"} == replaced


def test_a_layer_is_a_key_and_the_first_key_counts():
    model = small()
    new = replace(
        model,
        {
            model.get_layer("high"): lambda layer: layer,
            layers.Dense: Doubled,
        },
    )
    assert kinds(new) == {"low": "Doubled", "relu": "ReLU", "high": "Dense"}
    assert new.get_layer("high") is not model.get_layer("high")


def test_a_hand_written_model_becomes_functional():
    class Net(keras.Model):
        def __init__(self):
            super().__init__()
            self.low = layers.Dense(3, name="low")
            self.high = layers.Dense(2, name="high")

        def call(self, inputs):
            return self.high(keras.ops.relu(self.low(inputs)))

    model = Net()
    expected = np.array(model(X))
    new = replace(model, {"high": Doubled})
    np.testing.assert_allclose(np.array(new(X)), 2 * expected, rtol=1e-6)
    with pytest.raises(ValueError, match="must name layers"):
        replace(model, {"relu": Doubled})


def test_a_mask_is_left_out_where_none_is_taken():
    inputs = keras.Input((None,), dtype="int32")
    x = layers.Embedding(5, 4, mask_zero=True)(inputs)
    x = layers.BatchNormalization(name="norm")(x)
    model = keras.Model(inputs, layers.LSTM(2)(x))
    new = replace(model, {"norm": layers.LayerNormalization})
    tokens = np.array([[1, 2, 0], [3, 0, 0]])
    longer = np.array([[1, 2, 0, 0], [3, 0, 0, 0]])
    np.testing.assert_allclose(
        np.array(new(tokens)), np.array(new(longer)), rtol=1e-5
    )


@pytest.mark.parametrize("frozen", ["model", "layer", "weight"])
def test_what_is_frozen_stays_so(frozen):
    model = small()
    thing = {
        "model": model,
        "layer": model.get_layer("low"),
        "weight": model.get_layer("low").kernel,
    }[frozen]
    thing.trainable = False
    before = [v.trainable for v in model.variables]
    for value in (Doubled, lambda layer: Doubled(layer.units, name=layer.name)):
        new = replace(model, {layers.Dense: value})
        assert [v.trainable for v in new.variables] == before


def test_policies_are_kept():
    model = small(dtype="mixed_bfloat16")
    low = replace(model, {"low": Doubled}).get_layer("low")
    assert (low.compute_dtype, low.variable_dtype) == ("bfloat16", "float32")


def test_a_compiled_model_trains_on_as_if_nothing_had_been_replaced():
    """Where the new class computes the same: momenta follow their weights."""

    class Same(layers.Dense):
        pass

    keras.utils.set_random_seed(0)
    model = small()
    model.compile(keras.optimizers.Adam(0.1), "mse", metrics=["mae"])
    model.fit(X, Y, verbose=0, shuffle=False)
    new = replace(model, {"low": Same})
    other = replace(model, {"low": Same}, weights="new")
    for each in (model, new):
        each.fit(X, Y, verbose=0, shuffle=False)
    for old, now in zip(
        arrays([*model.variables, *model.optimizer.variables]),
        arrays([*new.variables, *new.optimizer.variables]),
        strict=True,
    ):
        np.testing.assert_allclose(now, old, 1e-5, 1e-7)
    velocities = [v for v in other.optimizer.variables if v.ndim == 2]
    kept = [bool(np.any(v)) for v in arrays(velocities)]
    assert kept == [False, False, True, True]


def test_a_replaced_model_is_saved(tmp_path):
    images = np.ones((2, 6, 6, 4), "float32")
    model = keras.Sequential(
        [keras.Input((6, 6, 4)), layers.Conv2D(3, 3, name="conv")]
    )
    new = replace(model, {layers.Conv2D: WeightStandardizedConv2D})
    new.save(tmp_path / "new.keras")
    loaded = keras.models.load_model(tmp_path / "new.keras")
    assert type(loaded.layers[0]) is WeightStandardizedConv2D
    np.testing.assert_array_equal(
        np.array(loaded(images)), np.array(new(images))
    )
    again = replace(loaded, {"conv": layers.Conv2D})
    np.testing.assert_array_equal(
        np.array(again(images)), np.array(model(images))
    )


def test_layers_within_layers_are_told_of():
    model = keras.Sequential(
        [
            keras.Input((6, 6, 4)),
            layers.BatchNormalization(name="norm"),
            tfdeep.layers.BasicBlock(4, name="block"),
        ]
    )
    swap = {layers.BatchNormalization: layers.LayerNormalization}
    with pytest.warns(UserWarning, match="left as they are: those in block"):
        new = replace(model, swap)
    assert kinds(new) == {"norm": "LayerNormalization", "block": "BasicBlock"}
    with pytest.raises(ValueError, match="some within block"):
        replace(new, swap)


@pytest.mark.parametrize(
    ("replacements", "error", "message"),
    [
        ({}, TypeError, "dictionary"),
        ([layers.Dense], TypeError, "dictionary"),
        ({int: Doubled}, TypeError, "classes of layers"),
        ({3: Doubled}, TypeError, "pattern"),
        ({"low": int}, TypeError, "as values"),
        ({"low": layers.ReLU()}, TypeError, "as values"),
        ({"low": lambda layer: 3}, TypeError, "return a layer"),
        ({"low": layers.EinsumDense}, TypeError, "arguments that it shares"),
        ({"conv*": Doubled}, ValueError, "means none"),
        ({"conv": Doubled}, ValueError, "that the model calls"),
        ({layers.Conv2D: Doubled}, ValueError, "Conv2D"),
        ({layers.Dense(2): Doubled}, ValueError, "means none"),
    ],
)
def test_what_is_refused(replacements, error, message):
    with pytest.raises(error, match=message):
        replace(small(), replacements)
    with pytest.raises(ValueError, match="weights"):
        replace(small(), {"low": Doubled}, weights="old")


def test_a_model_is_not_replaced_as_a_whole():
    with pytest.raises(ValueError, match="must name layers"):
        replace(nested(), {"block": Doubled})
