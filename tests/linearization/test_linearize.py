"""Each ReLU of a model becomes units that may be linear; all else stays."""

import keras
import numpy as np
import pytest
from keras import activations, layers, ops

import tfdeep
from tests.helpers import BACKEND, arrays, images
from tfdeep.graph import graph_of
from tfdeep.keras_internals import excluded_by, key_of
from tfdeep.layers import SparsePReLU
from tfdeep.linearization import left_alone, linearize, path_length


def outputs(model, x, training=False):
    return arrays(keras.tree.flatten(model(x, training=training)))


def check_equal(model, new, x, training=False):
    pairs = zip(
        outputs(model, x, training), outputs(new, x, training), strict=True
    )
    for one, other in pairs:
        np.testing.assert_allclose(one, other, 1e-6, 1e-6)


def units_of(model):
    operations = {id(c.operation): c.operation for c in graph_of(model).calls}
    return [u for u in operations.values() if isinstance(u, SparsePReLU)]


def every_form():
    """A ReLU in each form in which Keras has one."""
    shared = layers.Activation("relu", name="shared")
    act = layers.ReLU(name="act")
    x = inputs = keras.Input((6,))
    x = layers.Dense(6, "relu", name="fused")(x)
    x = shared(layers.Dense(6)(x))
    x = shared(layers.Dense(6)(x))
    x = layers.ReLU(name="plain")(layers.Dense(6)(x))
    x = ops.relu(layers.Dense(6)(x))
    x = activations.relu(layers.Dense(6)(x), negative_slope=0.1)
    x = ops.leaky_relu(layers.Dense(6)(x), 0.3)
    x = layers.LeakyReLU(0.2, name="leaky")(layers.Dense(6)(x))
    x = layers.Dense(6, activation=act, name="held")(x)
    return keras.Model(inputs, layers.Dense(2, name="last")(x))


def test_every_form_of_a_relu():
    model = every_form()
    new = linearize(model)
    check_equal(model, new, images(5, 6))
    units = units_of(new)
    assert len(units) == 9
    slopes = [round(unit.negative_slope, 6) for unit in units]
    assert slopes == [0, 0, 0, 0, 0, 0.1, 0.3, 0.2, 0]
    names = [unit.name for unit in units]
    assert names[:4] == ["fused_unit", "shared", "shared_2", "plain"]
    assert left_alone(new) == left_alone(model) == {}
    before = float(path_length(model))
    assert float(path_length(new)) == pytest.approx(before) and before == 9
    for old in model.weights:
        assert any(old.path == v.path for v in new.weights), old.path


def test_what_is_no_relu_is_left_and_listed():
    x = inputs = keras.Input((4, 6))
    x = layers.ReLU(6.0, name="six")(layers.Dense(6)(x))
    x = layers.Dense(6, "gelu", name="gelu")(x)
    x = layers.Dense(6, "relu", name="fused")(x)
    x = ops.relu6(x)
    x = layers.ReLU(threshold=0.5, name="late")(x)
    x = layers.ReLU(negative_slope=0.999, name="nearly")(x)
    x = layers.GRU(6, name="gru")(x)
    x = layers.Softmax()(x)
    model = keras.Model(inputs, layers.Dense(2, "sigmoid", name="last")(x))
    found = left_alone(linearize(model))
    assert found == left_alone(model)
    assert found == {
        "six": "ReLU with max_value=6",
        "gelu": "gelu",
        "relu6": "relu6",
        "late": "ReLU with threshold=0.5",
        "nearly": "ReLU",
        "gru": "inside a GRU, which stays one call",
    }


def test_a_relu_without_channels_is_left_and_listed():
    inputs = keras.Input((6,), dtype="int32")
    x = ops.cast(ops.relu(inputs), "float32")
    x = layers.Dense(6, "relu")(x)
    y = ops.relu(ops.sum(x, axis=-1))
    z = layers.Dense(2)(ops.expand_dims(y, -1))
    model = keras.Model(inputs, z)
    new = linearize(model)
    assert left_alone(new) == {"relu": "relu", "relu#2": "relu"}
    assert left_alone(model) == left_alone(new)
    x = np.array([[1, -2, 3, 0, 5, -6]])
    check_equal(model, new, x)


def test_a_quantized_layer_keeps_its_policy():
    model = keras.Sequential(
        [keras.Input((6,)), layers.Dense(32, "relu"), layers.Dense(8)]
    )
    model.layers[0].quantize("int8")
    new = linearize(model)
    assert [x.dtype_policy.name for x in new.layers] == [
        "int8_from_float32", "float32", "float32",
    ]  # fmt: skip
    check_equal(model, new, images(3, 6))


def block_net(**arguments):
    inputs = keras.Input((6, 6, 4))
    x = tfdeep.layers.BasicBlock(4, name="one", **arguments)(inputs)
    x = tfdeep.layers.BasicBlock(8, 2, name="two", **arguments)(x)
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(3)(x))


@pytest.mark.parametrize("training", [False, True])
def test_blocks_are_written_out(training):
    model = block_net()
    new = linearize(model)
    check_equal(model, new, images(3, 6, 6, 4), training)
    assert len(units_of(new)) == 4
    assert all("/" not in layer.name for layer in new.layers)
    trained = [tuple(v.shape) for v in new.trainable_variables]
    assert len(trained) == len(model.trainable_variables) + 4
    for one, other in zip(
        sorted(outputs_of_statistics(model)),
        sorted(outputs_of_statistics(new)),
        strict=True,
    ):
        assert one == pytest.approx(other, rel=1e-5)


def outputs_of_statistics(model):
    return [
        float(v.sum())
        for w in model.non_trainable_variables
        if "moving" in w.path
        for v in arrays([w])
    ]


def test_a_shared_block_keeps_its_weights_shared():
    block = tfdeep.layers.BasicBlock(4)
    inputs = keras.Input((6, 6, 4))
    model = keras.Model(inputs, block(block(inputs)))
    new = linearize(model)
    check_equal(model, new, images(2, 6, 6, 4))
    assert len(units_of(new)) == 4
    kernels = [w for w in new.trainable_variables if "kernel" in w.path]
    assert len(kernels) == 2


def test_a_shared_layer_has_units_for_each_use():
    dense = layers.Dense(4, "relu", name="dense")
    inputs = keras.Input((4,))
    model = keras.Model(inputs, dense(dense(inputs)))
    new = linearize(model)
    check_equal(model, new, images(2, 4))
    first, second = units_of(new)
    first.slopes.assign(np.ones(4))
    assert second.active_units == 4
    assert len(new.trainable_variables) == 4


def test_copies_of_a_repeat():
    inner = layers.Dense(4, "relu")
    inputs = keras.Input((4,))
    model = keras.Model(inputs, tfdeep.layers.Repeat(inner, 3)(inputs))
    new = linearize(model)
    check_equal(model, new, images(2, 4))
    assert len(units_of(new)) == 3


def test_nested_sequential_and_hand_written():
    nested = keras.Sequential(
        [keras.Input((4,)), layers.Dense(4, "relu", name="inner")], name="sub"
    )
    model = keras.Sequential([keras.Input((4,)), nested, layers.Dense(2)])
    new = linearize(model)
    check_equal(model, new, images(2, 4))
    assert [x.name for x in new.get_layer("sub").layers] == [
        "inner", "inner_unit",
    ]  # fmt: skip

    class Hand(keras.Model):
        def __init__(self):
            super().__init__()
            self.one, self.two = layers.Dense(3, "relu"), layers.Dense(2)

        def call(self, x):
            return self.two(ops.relu(self.one(x)))

    model = Hand()
    model(images(1, 4))
    check_equal(model, linearize(model), images(2, 4))


def test_channels_first_has_one_slope_for_each_channel():
    inputs = keras.Input((3, 6, 5))
    x = layers.Conv2D(4, 3, data_format="channels_first")(inputs)
    x = layers.BatchNormalization(axis=1)(x)
    model = keras.Model(inputs, layers.Dropout(0.1)(layers.ReLU()(x)))
    (unit,) = units_of(linearize(model))
    assert tuple(unit.slopes.shape) == (4, 1, 1)
    inputs = keras.Input((6, 5, 3))
    model = keras.Model(inputs, layers.Conv2D(4, 3, activation="relu")(inputs))
    (unit,) = units_of(linearize(model))
    assert tuple(unit.slopes.shape) == (1, 1, 4)


def test_what_is_excluded_stays():
    model = every_form()
    fused = model.get_layer("fused")
    new = linearize(model, exclude=[fused, "shared#2", "lea?y"])
    check_equal(model, new, images(3, 6))
    assert len(units_of(new)) == 6
    names = {layer.name for layer in new.layers}
    assert {"fused", "leaky"} <= names and "fused_unit" not in names
    model = block_net()
    new = linearize(model, exclude=["one"])
    assert len(units_of(new)) == 2
    assert isinstance(new.get_layer("one"), tfdeep.layers.BasicBlock)
    new = linearize(model, exclude=["*/relu"])
    assert len(units_of(new)) == 2
    check_equal(model, new, images(2, 6, 6, 4))


def test_a_compiled_model_stays_compiled_and_lets_no_slope_decay():
    model = block_net()
    optimizer = keras.optimizers.AdamW(0.01, weight_decay=0.1)
    jit = BACKEND == "jax"
    model.compile(optimizer, "mse", jit_compile=jit)
    x, y = images(4, 6, 6, 4), images(4, 3)
    model.fit(x, y, verbose=0)
    new = linearize(model, strength=0.01)
    excluded = excluded_by(new.optimizer)
    keys = {key_of(new.optimizer, unit.slopes) for unit in units_of(new)}
    assert len(keys) == 4 and keys <= excluded
    assert int(new.optimizer.iterations) == 1
    first = new.evaluate(x, y, verbose=0)
    penalty = 0.01 * sum(u.slopes.shape[-1] for u in units_of(new))
    before = model.evaluate(x, y, verbose=0)
    assert first == pytest.approx(before + penalty, rel=1e-4)
    new.fit(x, y, verbose=0)


def test_frozen_layers_have_frozen_units():
    model = block_net()
    model.get_layer("one").trainable = False
    new = linearize(model)
    assert [u.trainable for u in units_of(new)] == [False] * 2 + [True] * 2


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision_stays(policy):
    keras.config.set_dtype_policy(policy)
    try:
        inputs = keras.Input((4,))
        x = ops.relu(layers.Dense(4, "relu")(inputs))
        model = keras.Model(inputs, layers.Dense(2)(x))
    finally:
        keras.config.set_dtype_policy("float32")
    new = linearize(model)
    assert {u.compute_dtype for u in units_of(new)} == {model.compute_dtype}
    for one, other in zip(model(images(2, 4)), new(images(2, 4)), strict=True):
        np.testing.assert_array_equal(
            *arrays([ops.cast(each, "float32") for each in (one, other)])
        )


def test_it_is_saved_and_loaded(tmp_path):
    new = linearize(block_net())
    new.save(tmp_path / "new.keras")
    loaded = keras.models.load_model(tmp_path / "new.keras")
    check_equal(new, loaded, images(2, 6, 6, 4))


def no_relu():
    return keras.Sequential([keras.Input((4,)), layers.Dense(4, "gelu")])


def dense():
    return keras.Sequential(
        [keras.Input((4,)), layers.Dense(4, "relu", name="dense")]
    )


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: linearize(no_relu()), ValueError, "left_alone"),
        (lambda: linearize(dense(), exclude=["dense"]), ValueError, "ReLU"),
        (lambda: linearize(dense(), exclude=["none"]), ValueError, "none"),
        (lambda: linearize(dense(), exclude="dense"), TypeError, "exclude"),
        (lambda: linearize(dense(), exclude=[3]), TypeError, "pattern"),
        (lambda: linearize(dense(), strength=-1), ValueError, "strength"),
        (lambda: linearize(layers.Dense(3)), TypeError, "keras.Model"),
        (lambda: left_alone(layers.Dense(3)), TypeError, "keras.Model"),
    ],
)
def test_bad_input(call, kind, message):
    with pytest.raises(kind, match=message):
        call()
