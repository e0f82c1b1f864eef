"""Network slimming: the pull on scales, what it is saved with, the small net."""

import json
import math

import keras
import numpy as np
import pytest
from keras import layers, ops

from tests.helpers import BACKEND
from tfdeep.pruning import ChannelGraph, Slimming
from tfdeep.pruning.compact import compact
from tfdeep.pruning.mask import mask
from tfdeep.pruning.plan import gone_in
from tfdeep.pruning.selection import SelectionGraph

X = np.random.default_rng(0).normal(size=(4, 8, 8, 3)).astype("float32")
MODES = [{"run_eagerly": True}, {"jit_compile": False}, {"jit_compile": True}]
if BACKEND == "jax":
    MODES = MODES[1:]


def unit(x, filters, name, size=3, **kwargs):
    x = layers.Conv2D(
        filters, size, padding="same", use_bias=False, name=name, **kwargs
    )(x)
    return layers.ReLU()(layers.BatchNormalization(name=f"{name}_bn")(x))


def net(scale=True, **kwargs):
    keras.utils.set_random_seed(0)
    x = inputs = keras.Input((8, 8, 3))
    x = unit(x, 4, "one")
    x = layers.Conv2D(6, 3, use_bias=False, name="two")(x)
    x = layers.BatchNormalization(scale=scale, name="two_bn", **kwargs)(x)
    x = layers.GlobalAveragePooling2D()(layers.ReLU()(x))
    return keras.Model(inputs, layers.Dense(2, name="out")(x))


def read(x, filters, name, size=3, **kwargs):
    """A convolution of a trunk, with a normalization in front of it."""
    x = layers.ReLU()(layers.BatchNormalization(name=f"{name}_bn")(x))
    return layers.Conv2D(
        filters, size, padding="same", use_bias=False, name=name, **kwargs
    )(x)


def ended(inputs, x):
    x = layers.ReLU()(layers.BatchNormalization(name="last_bn")(x))
    x = layers.GlobalAveragePooling2D()(x)
    return random(keras.Model(inputs, layers.Dense(3, name="out")(x)))


def random(model):
    """The model with statistics and scales of chance."""
    rng = np.random.default_rng(1)
    for variable in model.variables:
        if len(variable.shape) == 1:
            variable.assign(rng.uniform(0.2, 1.0, variable.shape))
    return model


def pre_activation():
    """One stage of two blocks: the paper's ResNet-164 in small."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, padding="same", use_bias=False, name="stem")(inputs)
    for number in range(2):
        name = f"b{number}"
        y = read(x, 4, f"{name}_1", 1)
        y = read(y, 4, f"{name}_2")
        y = read(y, 8, f"{name}_3", 1)
        if number == 0:
            x = layers.Conv2D(8, 1, use_bias=False, name="project")(x)
        x = layers.Add()([x, y])
    return ended(inputs, x)


def dense():
    """A block of two, a transition, a block of one."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(6, 3, padding="same", use_bias=False, name="stem")(inputs)
    for number in range(2):
        x = layers.Concatenate()([x, read(x, 4, f"d{number}")])
    x = layers.AveragePooling2D(2)(read(x, 14, "transition", 1))
    x = layers.Concatenate()([x, read(x, 4, "d2")])
    return ended(inputs, x)


def nothing(y, p):
    return 0.0 * ops.sum(p, -1)


def still(model, **mode):
    """Compiled with a loss that pulls at nothing."""
    model.compile(keras.optimizers.SGD(1.0), nothing, **mode)
    return model


def fit(model, epochs=1):
    return model.fit(
        X, np.zeros((4, 2)), epochs=epochs, batch_size=4, verbose=0
    ).history


def gammas(model):
    return [
        np.array(layer.gamma)
        for layer in model.layers
        if isinstance(layer, layers.BatchNormalization) and layer.scale
    ]


@pytest.mark.parametrize("mode", MODES)
def test_the_gradient_is_the_sign_and_the_loss_says_nothing(mode):
    model = net()
    Slimming(0.25).attach(model)
    model.get_layer("one_bn").gamma.assign([1.0, -2.0, 0.0, 0.125])
    history = fit(still(model, **mode))
    assert history["loss"] == [0.0]
    assert gammas(model)[0].tolist() == [0.75, -1.75, 0.0, -0.125]


def test_it_acts_on_a_model_that_was_fitted_before():
    model = still(net())
    slimming = Slimming(0.25, gamma=0.5, layers=["one_bn"])
    fit(model)
    assert gammas(model)[0].tolist() == [1.0] * 4
    slimming.attach(model)
    assert gammas(model)[0].tolist() == [0.5] * 4
    fit(model)
    assert gammas(model)[0].tolist() == [0.25] * 4
    Slimming(0.125, layers=["one_bn"]).attach(model)
    fit(model)
    assert gammas(model)[0].tolist() == [0.125] * 4
    slimming.detach(model)
    fit(model)
    assert gammas(model)[0].tolist() == [0.125] * 4
    assert gammas(model)[1].tolist() == [1.0] * 6


def test_it_is_saved_and_goes_without_a_trace(tmp_path):
    model = still(net(gamma_regularizer="l2"))
    Slimming(0.25).attach(model)
    model.save(tmp_path / "attached.keras")
    loaded = keras.models.load_model(tmp_path / "attached.keras", compile=False)
    still(loaded)
    fit(loaded)
    # Its own gradient is 2 * 0.01 * 1.
    np.testing.assert_allclose(gammas(loaded)[1], 0.73, atol=1e-6)
    np.testing.assert_allclose(gammas(loaded)[0], 0.75, atol=1e-6)
    for each in (loaded, model):
        small = Slimming().prune(each, 0.3)
        Slimming().detach(each)
        for plain in (each, small):
            text = json.dumps(plain.get_config())
            assert "tfdeep" not in text
            kept = plain.get_layer("two_bn").gamma.regularizer
            assert isinstance(kept, keras.regularizers.L2)
            assert plain.get_layer("one_bn").gamma.regularizer is None


def test_groups_are_counted_as_in_a_plan():
    model = net()
    model.get_layer("one_bn").gamma.assign([0.01, 0.5, -0.02, 0.9])
    model.get_layer("two_bn").gamma.assign([0.8, 0.03, 0.7, -0.6, 0.5, 0.4])
    small = Slimming().prune(model, 0.25)  # Three of ten.
    assert [small.get_layer(n).filters for n in ("one", "two")] == [2, 5]
    np.testing.assert_array_equal(gammas(small)[0], np.float32([0.5, 0.9]))
    small = Slimming(layers=["two_bn"]).prune(model, 0.5)
    assert [small.get_layer(n).filters for n in ("one", "two")] == [4, 3]


@pytest.mark.parametrize("make", [pre_activation, dense])
@pytest.mark.parametrize("ratio", [0.2, 0.4])
def test_channels_are_selected_exactly(make, ratio):
    model = make()
    slimming = Slimming()
    small = slimming.prune(model, ratio, selection="channel")
    graph = SelectionGraph(model, slimming.normalizations(model))
    total = sum(len(values) for values in gammas(model))
    assert sum(group.channels for group in graph.free) == total
    kept = sum(len(values) for values in gammas(small))
    assert total - kept == math.ceil(total * ratio)
    threshold = np.sort(np.concatenate(gammas(model)))[total - kept - 1]
    for before, after in zip(gammas(model), gammas(small), strict=True):
        np.testing.assert_array_equal(after, before[before > threshold])
    removed = {
        group.name: np.flatnonzero(
            next(
                np.array(m.variable)
                for m in group.members
                if m.variable.path.endswith("gamma")
            )
            <= threshold
        )
        for group in graph.free
    }
    gone = gone_in(graph, removed)
    expected = compact(graph, gone)(X)
    np.testing.assert_array_equal(small(X), expected)
    mask(graph, gone)
    np.testing.assert_allclose(small(X), model(X), 1e-5, 1e-6)


def test_trunks_keep_their_width_and_inner_filters_go():
    model = pre_activation()
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            few = np.linspace(0.5, 1.0, layer.gamma.shape[0])
            few[: len(few) // 2] *= 1e-3
            layer.gamma.assign(few)
    small = Slimming().prune(model, 0.5, selection="channel")
    widths = {
        layer.name: (layer.kernel.shape[2], layer.filters)
        for layer in small.layers
        if isinstance(layer, layers.Conv2D)
    }
    assert widths == {
        "stem": (3, 4),
        "project": (4, 8),
        "b0_1": (2, 2), "b0_2": (2, 2), "b0_3": (2, 8),
        "b1_1": (4, 2), "b1_2": (2, 2), "b1_3": (2, 8),
    }  # fmt: skip
    assert small.get_layer("out").kernel.shape == (4, 3)
    # By hand: convolutions, two vectors for each of 18 scales, the last layer.
    convolutions = 108 + 32 + (4 + 36 + 16) + (8 + 36 + 16)
    trained = sum(int(np.prod(v.shape)) for v in small.trainable_variables)
    assert trained == convolutions + 2 * 18 + 4 * 3 + 3


def test_a_dense_net_keeps_what_its_layers_make():
    small = Slimming().prune(dense(), 0.5, selection="channel")
    made = {
        layer.name: layer.filters
        for layer in small.layers
        if isinstance(layer, layers.Conv2D)
    }
    assert made == {"stem": 6, "d0": 4, "d1": 4, "transition": 14, "d2": 4}
    assert small.count_params() < dense().count_params()


def test_without_shared_inputs_channels_are_groups():
    model = random(net())
    one = Slimming().prune(model, 0.4)
    other = Slimming().prune(model, 0.4, selection="channel")
    np.testing.assert_array_equal(one(X), other(X))
    assert one.count_params() == other.count_params()


def test_its_file_loads_without_this_package(tmp_path, fresh_process):
    small = Slimming().prune(pre_activation(), 0.5, selection="channel")
    small.save(tmp_path / "small.keras")
    np.save(tmp_path / "x.npy", X)
    np.save(tmp_path / "y.npy", small.predict(X, verbose=0))
    printed = fresh_process(f"""
import sys, keras, numpy as np
model = keras.models.load_model(r"{tmp_path / "small.keras"}")
x, y = (np.load(rf"{tmp_path}/{{n}}.npy") for n in "xy")
np.testing.assert_allclose(model.predict(x, verbose=0), y, 1e-5, 1e-6)
print("tfdeep" in sys.modules)
""")
    assert printed.strip().endswith("False")


def test_a_monitor_warns_where_few_scales_are_small():
    model = still(net(scale=False))
    with pytest.raises(ValueError, match=r"attach\(model\)` must be called"):
        model.fit(
            X, np.zeros((4, 2)), verbose=0, callbacks=[Slimming().monitor()]
        )
    slimming = Slimming(0.25, gamma=0.5)
    slimming.attach(model)
    monitor = slimming.monitor()

    def watched():
        return model.fit(
            *(X, np.zeros((4, 2))), verbose=0, callbacks=[monitor]
        ).history["small_gammas"]

    with pytest.warns(UserWarning, match="Only 0% of .* stay in two_bn"):
        assert watched() == [0.0]
    assert watched() == [1.0]
    assert monitor.without_scale == ["two_bn"] and monitor.shares == [1.0]


def test_half_precision_and_frozen_scales():
    keras.utils.set_random_seed(0)
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = net()
    finally:
        keras.config.set_dtype_policy("float32")
    model.get_layer("two_bn").trainable = False
    Slimming(0.25).attach(model)
    fit(still(model))
    assert gammas(model)[0].tolist() == [0.75] * 4
    assert gammas(model)[1].tolist() == [1.0] * 6
    model.get_layer("one_bn").trainable = False
    with pytest.raises(ValueError, match="whose scale trains"):
        Slimming().attach(model)


def test_what_is_refused():
    for wrong in ({"strength": -1.0}, {"gamma": "half"}):
        with pytest.raises(ValueError, match="`(strength|gamma)`"):
            Slimming(**wrong)
    with pytest.raises(TypeError, match="`layers` must be a list"):
        Slimming(layers="one_bn")
    with pytest.raises(TypeError, match="`model` must be a keras.Model"):
        Slimming().attach(3)
    with pytest.raises(ValueError, match="`model` must be built|no weights"):
        Slimming().attach(keras.Sequential([layers.BatchNormalization()]))
    with pytest.raises(ValueError, match="selection"):
        Slimming().prune(net(), 0.5, selection="both")
    with pytest.raises(ValueError, match="`ratio` must be"):
        Slimming().prune(net(), 1.5)
    with pytest.raises(ValueError, match="whose scale trains"):
        Slimming().attach(
            keras.Sequential([keras.Input((4,)), layers.Dense(2)])
        )


def test_the_graph_is_that_of_a_plan_else():
    """With no normalization that chooses, nothing is another one."""
    model = pre_activation()
    one, other = ChannelGraph(model), SelectionGraph(model, [])
    assert one.fingerprint() == other.fingerprint()
