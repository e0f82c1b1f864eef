"""Rewriting without an edit gives the same model; with one, another."""

import keras
import numpy as np
import pytest
from keras import layers, optimizers

from tests.graph.zoo import MODELS, data_for
from tests.helpers import arrays
from tfdeep.graph import Edited, rewrite
from tfdeep.inside import without_names

OPTIMIZERS = {
    "SGD": lambda: optimizers.SGD(0.05, momentum=0.9),
    "Adam": lambda: optimizers.Adam(0.01, use_ema=True),
    "AdamW": lambda: optimizers.AdamW(0.01, weight_decay=0.1),
    "Adafactor": lambda: optimizers.Adafactor(0.01),
}
PAIRS = [
    (name, list(OPTIMIZERS)[index % len(OPTIMIZERS)])
    for index, name in enumerate(MODELS)
]


def state_of(model) -> list:
    return arrays([*model.variables, *model.optimizer.variables])


def step(model, x, y) -> dict:
    return model.fit(x, y, batch_size=8, shuffle=False, verbose=0).history


@pytest.mark.parametrize(("name", "kind"), PAIRS)
def test_without_an_edit_the_third_step_is_that_of_the_model(name, kind):
    keras.utils.set_random_seed(0)
    model = MODELS[name]()
    metrics = {"u": ["mae"]} if name == "structured" else ["mae"]
    model.compile(OPTIMIZERS[kind](), "mse", metrics=metrics)
    x, y = data_for(model)
    for _ in range(2):
        step(model, x, y)
    before = state_of(model)
    new = rewrite(model)
    for old, now in zip(before, state_of(new), strict=True):
        np.testing.assert_array_equal(now, old)
    assert new.optimizer is not model.optimizer
    logs = step(new, x, y)
    for old, now in zip(before, state_of(model), strict=True):
        np.testing.assert_array_equal(now, old, "the given model has moved")
    expected = step(model, x, y)
    assert logs == pytest.approx(expected, rel=1e-6)
    pairs = zip(model.variables, state_of(model), state_of(new), strict=False)
    for variable, old, now in pairs:
        np.testing.assert_allclose(now, old, 1e-5, 1e-6, err_msg=variable.path)


@pytest.mark.parametrize("name", [n for n in MODELS if n != "by hand"])
def test_names_and_classes_are_kept(name, tmp_path):
    model = MODELS[name]()
    new = rewrite(model)
    assert type(new) is type(model) and new.name == model.name
    assert [layer.name for layer in new.layers] == [
        layer.name for layer in model.layers
    ]
    for old, now in zip(model.layers, new.layers, strict=True):
        assert without_names(now.get_config()) == without_names(
            old.get_config()
        )
    assert [v.trainable for v in new.variables] == [
        v.trainable for v in model.variables
    ]
    if name != "operations":  # No file with a lambda loads by itself.
        new.save(tmp_path / "new.keras")
        loaded = keras.models.load_model(tmp_path / "new.keras")
        x, _ = data_for(model)
        for one, other in zip(
            arrays(keras.tree.flatten(model.predict(x, verbose=0))),
            arrays(keras.tree.flatten(loaded.predict(x, verbose=0))),
            strict=True,
        ):
            np.testing.assert_allclose(one, other, 1e-6, 1e-6)


def relu_to_gelu(call, args, kwargs):
    if isinstance(call.operation, layers.ReLU):
        return layers.Activation("gelu", name="gelu")(*args)
    return None


class Backbone(keras.Model):
    """A Functional model of a class that is made from a size."""

    def __init__(self, units, **kwargs):
        inputs = keras.Input((4,), name="in")
        x = layers.Dense(units, name="low")(inputs)
        super().__init__(inputs, x, **kwargs)
        self.units = units


def test_a_class_that_hands_on_what_it_is_given_stays():
    class HandsOn(keras.Model):
        def __init__(self, *given, **named):
            super().__init__(*given, **named)

    inputs = keras.Input((4,))
    model = HandsOn(inputs, layers.Dense(2)(inputs))
    assert type(rewrite(model)) is type(model)


def test_a_class_with_another_constructor_becomes_an_ordinary_model(tmp_path):
    model = Backbone(3, name="backbone")
    new = rewrite(model)
    assert [layer.name for layer in new.layers] == ["in", "low"]
    assert new.name == "backbone" and not isinstance(new, Backbone)
    new.save_weights(tmp_path / "new.weights.h5")
    model.load_weights(tmp_path / "new.weights.h5")


def chain(width=6):
    return keras.Sequential(
        [
            keras.Input((4,)),
            layers.Dense(width, name="low"),
            layers.ReLU(),
            layers.Dense(3, name="high"),
        ]
    )


def test_an_edit_takes_the_place_of_a_call():
    model = chain()
    new = rewrite(model, relu_to_gelu)
    assert [layer.name for layer in new.layers] == ["low", "gelu", "high"]
    x = np.random.default_rng(0).normal(size=(5, 4)).astype("float32")
    low, high = model.layers[0], model.layers[-1]
    expected = high(keras.activations.gelu(low(x)))
    np.testing.assert_allclose(
        new.predict(x, verbose=0), arrays([expected])[0], 1e-5, 1e-6
    )


def test_an_edit_reaches_into_models():
    inputs = keras.Input((4,))
    inner = chain()
    model = keras.Model(inputs, inner(inputs))
    new = rewrite(model, relu_to_gelu)
    (within,) = [each for each in new.layers if isinstance(each, keras.Model)]
    assert within.name == inner.name and type(within) is type(inner)
    assert [layer.name for layer in within.layers] == ["low", "gelu", "high"]


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_weights_and_slots_are_cut_alike(kind):
    """Three of six units stay, with what the optimizer knows of them."""
    model = chain()
    model.compile(OPTIMIZERS[kind](), "mse")
    x = np.random.default_rng(0).normal(size=(8, 4)).astype("float32")
    y = np.random.default_rng(1).normal(size=(8, 3)).astype("float32")
    step(model, x, y)
    kept = [4, 0, 3]

    def narrow(call, args, kwargs):
        old = call.operation
        if old.name not in ("low", "high"):
            return None
        new = layers.Dense(3, name=old.name)
        outputs = new(*args)
        if old.name == "low":
            kernel, bias = (None, kept), (kept,)
        else:
            kernel, bias = (kept, None), (None,)
        weights = [
            (new.kernel, (old.kernel, kernel)),
            (new.bias, (old.bias, bias)),
        ]
        return Edited(outputs, weights)

    if kind == "Adafactor":  # Its factors are those of whole kernels.
        with pytest.warns(
            UserWarning, match="starts from zero for .*low/kernel"
        ):
            new = rewrite(model, narrow)
    else:
        new = rewrite(model, narrow)
    low, high = model.layers[0], model.layers[-1]
    np.testing.assert_array_equal(
        new.layers[0].kernel, arrays([low.kernel])[0][:, kept]
    )
    np.testing.assert_array_equal(
        new.layers[-1].kernel, arrays([high.kernel])[0][kept]
    )
    if kind in ("SGD", "AdamW"):
        name = "momentums" if kind == "SGD" else "_momentums"
        theirs, ours = (
            arrays(getattr(each.optimizer, name)) for each in (model, new)
        )
        np.testing.assert_array_equal(ours[0], theirs[0][:, kept])
        np.testing.assert_array_equal(ours[1], theirs[1][kept])
        np.testing.assert_array_equal(ours[2], theirs[2][kept])
        assert np.any(ours[0])
    assert int(new.optimizer.iterations) == 1
    step(new, x, y)


def test_a_new_optimizer_begins_anew():
    model = chain()
    model.compile(optimizers.Adam(0.01), "mse")
    x, y = data_for(model)
    step(model, x, y)
    model.optimizer.learning_rate = 0.3
    new = rewrite(model, optimizer="new")
    assert int(new.optimizer.iterations) == 0
    assert float(new.optimizer.learning_rate) == pytest.approx(0.3)


def test_what_does_not_decay_goes_on_so():
    model = chain()
    optimizer = optimizers.AdamW(0.1, weight_decay=0.5)
    low = model.layers[0]
    optimizer.exclude_from_weight_decay([low.kernel], ["bias"])
    model.compile(optimizer, "mse")
    x, y = data_for(model)
    step(model, x, y)
    new = rewrite(model)
    zeros = [keras.ops.zeros_like(v) for v in new.trainable_variables]
    plain = rewrite(model, optimizer="new")
    before = arrays(plain.trainable_variables)
    plain.optimizer.apply(zeros)
    moved = [
        bool(np.any(old != now))
        for old, now in zip(
            before, arrays(plain.trainable_variables), strict=True
        )
    ]
    assert moved == [False, False, True, False]
    assert new.optimizer is not plain.optimizer


class TestRefused:
    def test_no_model(self):
        with pytest.raises(TypeError, match="must be a keras.Model"):
            rewrite(layers.Dense(3))

    def test_an_unknown_way_with_the_optimizer(self):
        with pytest.raises(ValueError, match="must be one of"):
            rewrite(chain(), optimizer="old")

    def test_a_weight_used_outside_of_layers(self):
        class Own(keras.Model):
            def __init__(self):
                super().__init__()
                self.low = layers.Dense(4)
                self.token = self.add_weight((4,), name="token")

            def call(self, inputs):
                return self.low(inputs) + self.token

        model = Own()
        model(keras.Input((4,)))
        with pytest.raises(ValueError, match="which uses own.*token by itself"):
            rewrite(model)

    def test_a_step_of_its_own_in_a_hand_written_model(self):
        class Stepping(keras.Model):
            def __init__(self):
                super().__init__()
                self.low = layers.Dense(4)

            def call(self, inputs):
                return self.low(inputs)

            def train_step(self, *args):
                return super().train_step(*args)

        model = Stepping()
        model(keras.Input((4,)))
        with pytest.raises(ValueError, match="which defines train_step"):
            rewrite(model)

    def test_a_step_of_its_own_with_another_constructor(self):
        class Stepping(Backbone):
            def train_step(self, *args):
                return super().train_step(*args)

        with pytest.raises(TypeError, match="if it has a step of its own"):
            rewrite(Stepping(3))

    def test_a_layer_without_a_configuration(self):
        class Plain(layers.Layer):
            def __init__(self, units):
                super().__init__()
                self.inner = layers.Dense(units)

            def call(self, inputs):
                return self.inner(inputs)

        inputs = keras.Input((4,))
        model = keras.Model(inputs, Plain(3)(inputs))
        with pytest.raises(ValueError, match="can be made from its conf"):
            rewrite(model)

    def test_a_layer_that_was_changed_by_hand(self):
        model = chain()
        model.layers[0].units = 9
        with pytest.raises(ValueError, match="Received: 'low' with weights"):
            rewrite(model)

    def test_an_edit_with_too_many_outputs(self):
        def double(call, args, kwargs):
            return [*args, *args]

        with pytest.raises(ValueError, match="must return 1 outputs"):
            rewrite(chain(), double)

    def test_a_weight_of_another_shape(self):
        def wrong(call, args, kwargs):
            if call.operation.name != "low":
                return None
            new = layers.Dense(6)
            outputs = new(*args)
            return Edited(outputs, [(new.kernel, call.operation.bias)])

        with pytest.raises(ValueError, match="a value of shape \\(4, 6\\)"):
            rewrite(chain(), wrong)
