"""Models between their stacked and their plain form."""

import inspect
import sys

import keras
import numpy as np
import pytest
from keras import layers

from tests.helpers import BACKEND, arrays, close, images, randomize
from tests.models.symbolic import symbolic
from tests.training.harness import EAGER
from tfdeep import models
from tfdeep.keras_internals import layers_of
from tfdeep.layers import BasicBlock, Repeat, StochasticDepth, WideBlock
from tfdeep.models import stack, unstack

SMALL = {"input_shape": (8, 8, 3), "seed": 0, "weight_decay": 1e-3}
NETWORKS = {
    "after": lambda **kw: models.ResNet(20, **SMALL, **kw),
    "before": lambda **kw: models.ResNet(20, preactivation=True, **SMALL, **kw),
    "bottleneck": lambda **kw: models.ResNet(29, "bottleneck", **SMALL, **kw),
    "dropping": lambda **kw: models.ResNet(
        20, survival_probability=0.5, **SMALL, **kw
    ),
    "wide": lambda **kw: models.WideResNet(22, 1, rate=0.3, **SMALL, **kw),
    "next": lambda **kw: models.ResNeXt(29, 2, 16, **SMALL, **kw),
}


def noisy():
    """A block with statistics and a random stream."""
    return keras.Sequential(
        [
            layers.Dense(4, "tanh"),
            layers.BatchNormalization(momentum=0.6),
            layers.Dropout(0.4, seed=3),
        ]
    )


def repeats(model):
    return [layer for layer in model.layers if isinstance(layer, Repeat)]


@pytest.mark.parametrize("name", NETWORKS)
def test_both_forms_of_a_network_are_of_one_kind(name):
    stacked = symbolic(NETWORKS[name], stacked=True)
    plain = symbolic(NETWORKS[name], stacked=False)
    assert len(repeats(stacked)) == 3 and repeats(plain) == []
    assert stacked.count_params() == plain.count_params()
    assert models.multiply_adds(stacked) == models.multiply_adds(plain)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["before", "bottleneck", "dropping", "next", "wide"]
)
def test_there_and_back_is_exact(name):
    """The plain form is that of the network, with the weights of the other."""
    stacked = NETWORKS[name](stacked=True)
    randomize(stacked)
    unrolled = unstack(stacked)
    plain = symbolic(NETWORKS[name], stacked=False)
    assert described(unrolled) == described(plain)
    again = stack(unrolled)
    assert len(repeats(again)) == 3
    close(arrays(again.weights), arrays(stacked.weights), 0, 0)


def described(model):
    """The kinds of layers, the shapes of weights, the chances to survive."""
    return [
        (
            type(layer),
            [tuple(weight.shape) for weight in layer.weights],
            getattr(layer, "survival_probability", 1.0),
        )
        for layer in model.layers
    ]


def test_all_forms_draw_the_same_and_move_the_same(tmp_path):
    """A resumed one too, to the bit on TensorFlow."""
    model = keras.Sequential(
        [
            keras.Input((5, 5, 4)),
            Repeat(WideBlock(4, rate=0.3, seed=1), 3, [0.9, 0.6, 0.5]),
            Repeat(BasicBlock(4, seed=2), 2),
        ]
    )
    x = images(4, 5, 5, 4)
    model(x, training=True)
    plain = unstack(model)
    plain.save(tmp_path / "plain.keras")
    resumed = keras.models.load_model(tmp_path / "plain.keras")
    others = [plain, resumed, stack(plain)]
    tolerance = (0, 0) if BACKEND == "tensorflow" else (1e-4, 1e-5)
    for training in (True, True, True, False):
        expected = np.array(model(x, training=training))
        for other in others:
            found = np.array(other(x, training=training))
            np.testing.assert_allclose(found, expected, *tolerance)


def test_stacked_training_is_that_of_the_plain_form():
    stacked = models.ResNet(14, **SMALL, stacked=True)
    plain = unstack(stacked)
    x, y = images(8, 8, 8, 3), np.arange(8)
    losses = []
    for model in (stacked, plain):
        model.compile(
            keras.optimizers.SGD(0.01),
            "sparse_categorical_crossentropy",
            **EAGER,
        )
        history = model.fit(x, y, verbose=0, shuffle=False)
        losses.append(history.history["loss"])
    # The penalties of the weights are in the loss.
    np.testing.assert_allclose(*losses, rtol=1e-4)
    ours, theirs = arrays(unstack(stacked).weights), arrays(plain.weights)
    close(ours, theirs, 1e-3, 1e-4)


def test_auto_stacks_from_where_it_pays():
    deep = symbolic(models.ResNet, 194, input_shape=(8, 8, 3))
    # The first block of a stage halves the size and is none of the equal ones:
    # the later stages have 31.
    assert [part.num_repeats for part in repeats(deep)] == [32]


@pytest.mark.parametrize("stacked", [None, "yes", 3])
def test_another_value_is_refused(stacked):
    with pytest.raises(ValueError, match="Received: stacked="):
        models.ResNet(20, stacked=stacked)


def test_a_dense_net_is_not_stacked():
    with pytest.raises(ValueError, match="Received: stacked=True"):
        models.DenseNet(10, 4, stacked=True)


class TestGraphs:
    def test_sequential_with_models_inside(self):
        inner = keras.Sequential(
            [keras.Input((4,)), Repeat(noisy(), 2), layers.Dense(4)]
        )
        model = keras.Sequential(
            [keras.Input((4,)), inner, Repeat(layers.Dense(4), 3)]
        )
        plain = unstack(model)
        assert isinstance(plain, keras.Sequential)
        assert [len(part.layers) for part in plain.layers[:1]] == [3]
        assert len(plain.layers) == 4
        x = images(6, 4)
        for training in (True, False):
            np.testing.assert_allclose(
                np.array(plain(x, training=training)),
                np.array(model(x, training=training)),
                1e-5,
                1e-6,
            )

    def test_only_what_nothing_else_takes_is_stacked(self):
        inputs = x = keras.Input((4,))
        taken = []
        for _ in range(4):
            x = layers.Dense(4, "tanh")(x)
            taken.append(x)
        model = keras.Model(inputs, taken[1] + x)
        stacked = stack(model)
        # The second output is taken twice: 0 and 1, then 2 and 3.
        assert [part.num_repeats for part in repeats(stacked)] == [2, 2]
        x = images(3, 4)
        np.testing.assert_allclose(
            np.array(stacked(x)), np.array(model(x)), 1e-5, 1e-6
        )

    def test_an_output_of_the_model_stays_one(self):
        inputs = keras.Input((4,))
        first = layers.Dense(4)(inputs)
        second = layers.Dense(4)(first)
        model = keras.Model(inputs, [first, second])
        assert repeats(stack(model)) == []

    def test_shared_and_different_layers_are_left_alone(self):
        shared = layers.Dense(4)
        inputs = keras.Input((4,))
        x = shared(shared(inputs))
        for activation in ("relu", "tanh"):
            x = layers.Dense(4, activation)(x)
        x = layers.Dense(5)(layers.ReLU()(layers.ReLU()(x)))
        assert repeats(stack(keras.Model(inputs, x))) == []

    def test_a_frozen_run_stays_frozen(self):
        model = keras.Sequential([keras.Input((4,)), Repeat(noisy(), 2)])
        model.layers[0].trainable = False
        assert unstack(model).trainable_weights == []
        assert stack(unstack(model)).trainable_weights == []

    def test_a_compiled_model_stays_compiled(self):
        model = keras.Sequential([keras.Input((4,)), Repeat(noisy(), 2)])
        model.compile(keras.optimizers.SGD(0.25), "mse")
        for result in (unstack(model), stack(unstack(model))):
            assert float(result.optimizer.learning_rate) == 0.25
            result.fit(images(4, 4), images(4, 4), verbose=0)

    def test_survival_probabilities_are_those_of_the_layers(self):
        model = keras.Sequential(
            [keras.Input((5, 5, 4))]
            + [BasicBlock(4, survival_probability=p) for p in (1.0, 0.7, 0.2)]
        )
        (layer,) = repeats(stack(model))
        assert layer.survival_probabilities == (1.0, 0.7, 0.2)


class TestWithin:
    """A `Repeat` in a branch, in another one, and called twice."""

    @pytest.mark.parametrize(
        "make",
        [
            lambda: StochasticDepth(Repeat(layers.Dense(4), 2), 0.5, seed=1),
            lambda: Repeat(Repeat(layers.Dense(4), 2), 2),
        ],
    )
    def test_becomes_plain(self, make):
        model = keras.Sequential([keras.Input((4,)), make()])
        plain = unstack(model)
        assert not any(isinstance(x, Repeat) for x in layers_of(plain))
        x = images(3, 4)
        for training in (False, True, True):
            np.testing.assert_allclose(
                *(arrays([m(x, training=training)])[0] for m in (plain, model)),
                1e-5,
                1e-6,
            )

    def test_called_twice_has_its_weights_once(self):
        repeat, x = Repeat(layers.Dense(4), 2), keras.Input((4,))
        model = keras.Model(x, repeat(repeat(x)))
        plain = unstack(model)
        assert plain.count_params() == model.count_params() == 40
        x = images(3, 4)
        np.testing.assert_allclose(
            *(arrays([each(x)])[0] for each in (plain, model)), 1e-5, 1e-6
        )


class TestRefused:
    def test_a_block_changed_by_hand(self):
        model = keras.Sequential(
            [keras.Input((4,))] + [layers.Dense(4) for _ in range(3)]
        )
        for layer in model.layers:
            layer.use_bias = False
        before, x = arrays(model.weights), images(2, 4)
        y = np.array(model(x))
        with pytest.raises(ValueError, match="changed by hand"):
            stack(model)
        # Nothing is half converted.
        assert len(model.layers) == 3 and len(model.weights) == 6
        for one, other in zip(arrays(model.weights), before, strict=True):
            np.testing.assert_array_equal(one, other)
        np.testing.assert_array_equal(np.array(model(x)), y)
        repeat = Repeat(layers.Dense(4), 2)
        model = keras.Sequential([keras.Input((4,)), repeat])
        repeat.template.given.use_bias = False
        with pytest.raises(ValueError, match="changed by hand"):
            unstack(model)

    @pytest.mark.parametrize("convert", [stack, unstack])
    def test_what_has_no_graph(self, convert):
        class Own(keras.Model):
            def call(self, inputs):
                return inputs

        for model in (Own(), layers.Dense(4), keras.Sequential()):
            with pytest.raises(TypeError, match="`model` must be a Funct"):
                convert(model)

    def test_a_repeat_inside_a_layer_that_stays_closed(self):
        class Twofold(layers.Layer):
            def __init__(self, **kwargs):
                super().__init__(**kwargs)
                self.inner = Repeat(layers.Dense(4), 2, name="inner")

            def call(self, x, training=None):
                return self.inner(2.0 * x if training else x)

        model = keras.Sequential([keras.Input((4,)), Twofold()])
        with pytest.raises(ValueError, match="which holds inner"):
            unstack(model)

    def test_a_plain_form_too_deep_for_keras(self):
        """In the words of this package, as it is when Python's limit is met."""
        model = keras.Sequential(
            [keras.Input((2,)), Repeat(layers.Dense(2), 250)]
        )
        assert model(images(2, 2)).shape == (2, 2)
        before = sys.getrecursionlimit()
        sys.setrecursionlimit(len(inspect.stack(0)) + 200)
        try:
            with pytest.raises(ValueError, match="more layers than Keras walk"):
                unstack(model)
        finally:
            sys.setrecursionlimit(before)
