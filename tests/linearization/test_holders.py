"""Units within layers that hold others: they stay, around another branch."""

import keras
import numpy as np
import pytest
from keras import layers

import tfdeep
from tests.helpers import BACKEND, arrays, images
from tests.linearization.test_linearize import check_equal
from tfdeep.keras_internals import layers_of
from tfdeep.layers import (
    BasicBlock,
    DenseBlock,
    PreActivationBlock,
    Recompute,
    Repeat,
    SparsePReLU,
    StochasticBlock,
    StochasticDepth,
)
from tfdeep.linearization import (
    fold_linear,
    foldable,
    left_alone,
    linearize,
    path_length,
)


def branch(*shape, rate=0.0):
    """A model with a unit and a random stream."""
    stack = [layers.Dense(6, "relu"), layers.Dropout(rate, seed=3)]
    return keras.Sequential([keras.Input(shape or (6,)), *stack])


def chain(*stack, shape=(6,)):
    return keras.Sequential([keras.Input(shape), *stack])


def shortcut():
    x = inputs = keras.Input((6,))
    for seed in range(2):
        inner = branch(rate=0.3)
        x = StochasticDepth(inner, 0.5, seed=seed)(x, x)
    return keras.Model(inputs, layers.Dense(2)(x))


def retrofitted():
    x = inputs = keras.Input((6,))
    for _ in range(2):
        h = layers.Dense(6)(layers.Dense(6, "relu")(x))
        x = layers.Add()([x, h])
    model = keras.Model(inputs, layers.Dense(2)(x))
    return tfdeep.models.add_stochastic_depth(model, 0.5)


IMAGES = (6, 6, 4)
MODELS = {
    "layer": (lambda: chain(StochasticDepth(layers.Dense(6, "relu"), 0.5)), 1),
    "model": (lambda: chain(StochasticDepth(branch(rate=0.3), 0.5, 4)), 1),
    "shortcut": (shortcut, 2),
    "retrofitted": (retrofitted, 2),
    "inverted": (
        lambda: chain(StochasticBlock(branch(), 0.5, 4, inverted=True)),
        1,
    ),
    "recompute": (lambda: chain(Recompute(branch(rate=0.3))), 1),
    "time": (
        lambda: chain(layers.TimeDistributed(branch(2)), shape=(3, 2)),
        1,
    ),
    "within one another": (
        lambda: chain(StochasticDepth(StochasticBlock(branch(), 0.9, 1), 0.5)),
        1,
    ),
    "around a block": (
        lambda: chain(StochasticDepth(BasicBlock(4), 0.5, 2), shape=IMAGES),
        2,
    ),
    "within blocks": (
        lambda: chain(
            BasicBlock(4, survival_probability=0.5, seed=1),
            PreActivationBlock(8, 2, survival_probability=0.5, seed=2),
            shape=IMAGES,
        ),
        4,
    ),
    "copies": (lambda: chain(Repeat(branch(), 3, [0.9, 0.5, 1.0])), 3),
    "blocks": (
        lambda: chain(Repeat(BasicBlock(4), 2, [0.9, 0.5]), shape=IMAGES),
        4,
    ),
    "copies in copies": (
        lambda: chain(Repeat(chain(Repeat(branch(), 2)), 2)),
        4,
    ),
    "copies in a branch": (
        lambda: chain(StochasticDepth(Repeat(branch(), 2), 0.5)),
        2,
    ),
    "recomputed block": (
        lambda: chain(DenseBlock(1, 4, recompute=True), shape=IMAGES),
        2,
    ),
}


def units_in(model):
    return [x for x in layers_of(model) if isinstance(x, SparsePReLU)]


@pytest.mark.parametrize("kind", MODELS)
def test_the_layer_stays_around_a_branch_with_units(kind):
    make, number = MODELS[kind]
    model = make()
    x = images(2, *model.input_shape[1:])
    new = linearize(model)
    assert len(units_in(new)) == number
    assert left_alone(new) == left_alone(model) == {}
    check_equal(model, new, x)
    for _ in range(4):  # The random streams go on as those of the model.
        check_equal(model, new, x, training=True)
    check_equal(model, new, x)
    before, after = (
        sum(np.prod(w.shape) for w in each.trainable_variables)
        for each in (model, new)
    )
    slopes = sum(np.prod(unit.slopes.shape) for unit in units_in(new))
    assert after == before + slopes
    if kind != "time":
        assert float(path_length(new)) == float(path_length(model)) > 0


@pytest.mark.parametrize("jit", [False, True])
def test_it_trains_and_is_loaded_as_it_was(tmp_path, jit):
    model = shortcut()
    model.compile("sgd", "mse")
    x, y = images(8, 6), images(8, 2)
    new = linearize(model)
    base = model.evaluate(x, y, verbose=0)
    new.compile("sgd", "mse", jit_compile=jit)
    scheduler = tfdeep.callbacks.LinearizationScheduler(1, 2, 0.5)
    logs = new.fit(x, y, epochs=3, verbose=0, callbacks=[scheduler]).history
    assert logs["active_units"][0] == 12 and logs["path_length"][0] == 1.0
    assert np.isfinite(logs["loss"]).all() and np.isfinite(base)
    new.save(tmp_path / "new.keras")
    loaded = keras.models.load_model(tmp_path / "new.keras")
    check_equal(new, loaded, x)


def test_the_penalty_of_a_branch_counts_once():
    model = shortcut()
    model.compile("sgd", "mse", jit_compile=BACKEND == "jax")
    x, y = images(8, 6), images(8, 2)
    new = linearize(model, strength=0.25)
    found = new.evaluate(x, y, verbose=0)
    expected = model.evaluate(x, y, verbose=0) + 0.25 * 12
    assert found == pytest.approx(expected, rel=1e-5)
    twin = linearize(model, strength=0.25)
    trained = [each.train_on_batch(x, y) for each in (model, twin)]
    assert trained[1] == pytest.approx(trained[0] + 3.0, rel=1e-5)


def test_a_branch_that_is_called_twice_stays_one():
    layer = StochasticDepth(branch(), 0.5, seed=1)
    inputs = keras.Input((6,))
    model = keras.Model(inputs, layer(layer(inputs)))
    new = linearize(model)
    check_equal(model, new, images(2, 6))
    check_equal(model, new, images(2, 6), training=True)
    assert len(units_in(new)) == 1 and len(new.trainable_variables) == 3


@pytest.mark.parametrize("shared", [BasicBlock, StochasticDepth, "model"])
def test_what_is_excluded_in_one_call_is_in_all(shared):
    """Or there would be two of it, each with weights of its own."""
    layer = branch()
    if shared is BasicBlock:
        layer = BasicBlock(4, name="block")
    elif shared is StochasticDepth:
        layer = StochasticDepth(branch(), 0.5, name="block")
    layer.name = "block"
    x = inputs = keras.Input(IMAGES if shared is BasicBlock else (6,))
    model = keras.Model(inputs, layers.ReLU()(layer(layer(x))))
    for exclude in (["block#2"], ["block"]):
        new = linearize(model, exclude=exclude)
        assert len(units_in(new)) == 1
        check_equal(model, new, images(2, *model.input_shape[1:]))
        assert len(new.trainable_variables) == 1 + len(
            model.trainable_variables
        )


def test_what_is_frozen_in_a_branch_stays_so():
    inner = chain(layers.Dense(6, "relu"), layers.Dense(6, "relu"))
    model = chain(StochasticDepth(inner, 0.5), layers.Dense(2))
    inner.layers[0].trainable = False
    new = linearize(model)
    trains = {unit.name: unit.trainable for unit in units_in(new)}
    names = [f"{layer.name}_unit" for layer in inner.layers]
    assert [trains[name] for name in names] == [False, True]
    assert len(new.trainable_variables) == 2 + 1 + 2
    model.layers[0].trainable = False
    new = linearize(model)
    assert not new.layers[0].trainable and len(new.trainable_variables) == 2
    check_equal(model, new, images(2, 6))


def test_branches_are_excluded_by_path():
    model = shortcut()
    first, second = (x for x in model.layers if isinstance(x, StochasticDepth))
    for exclude in ([first], [first.name], [f"{first.name}/*"]):
        new = linearize(model, exclude=exclude)
        (unit,) = units_in(new)
        assert any(unit is x for x in layers_of(new.get_layer(second.name)))
        check_equal(model, new, images(2, 6))


def test_a_branch_that_hands_on_a_mask_is_left():
    x = inputs = keras.Input((5,), dtype="int32")
    x = layers.Embedding(10, 6, mask_zero=True)(x)
    x = StochasticDepth(layers.Dense(6, "relu"), 0.5, name="drops")(x)
    x = layers.Dense(6, "relu")(x)
    model = keras.Model(inputs, layers.GlobalAveragePooling1D()(x))
    new = linearize(model)
    check_equal(model, new, np.array([[1, 2, 3, 0, 0], [4, 0, 0, 0, 0]]))
    assert len(units_in(new)) == 1
    message = "inside a StochasticDepth, which stays one call"
    assert left_alone(new) == {"drops": message}
    assert float(path_length(new)) == 2.0


def test_a_layer_that_is_always_trained_stays_so():
    inputs = keras.Input(IMAGES)
    block = BasicBlock(4, survival_probability=0.5, seed=1)
    model = keras.Model(inputs, block(inputs, training=True))
    new = linearize(model)
    for _ in range(4):
        check_equal(model, new, images(2, *IMAGES))


def test_what_a_layer_does_in_training_alone_is_not_lost():
    class Noisy(layers.Layer):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.dense = layers.Dense(6, "relu")

        def build(self, input_shape):
            self.dense.build(input_shape)

        def call(self, x, training=None):
            x = self.dense(x)
            return 2.0 * x if training else x

    model = chain(Noisy(name="noisy"), layers.Dense(6, "relu"))
    new = linearize(model)
    check_equal(model, new, images(2, 6))
    check_equal(model, new, images(2, 6), training=True)
    assert len(units_in(new)) == 1
    assert left_alone(new) == {"noisy": "inside a Noisy, which stays one call"}


def linear_branch():
    return chain(layers.Dense(40, name="wide"), layers.Dense(6, name="narrow"))


@pytest.mark.parametrize(
    "make",
    [
        lambda: chain(StochasticDepth(linear_branch(), 0.5, 1)),
        lambda: chain(Recompute(linear_branch())),
        lambda: chain(
            StochasticDepth(StochasticBlock(linear_branch(), 0.5), 0.9)
        ),
    ],
)
def test_what_is_linear_in_a_branch_is_folded(make):
    model = make()
    (fold,) = foldable(model).folded
    assert [path.rpartition("/")[2] for path in fold.paths] == [
        "wide",
        "narrow",
    ]
    new = fold_linear(model)
    assert type(new.layers[0]) is type(model.layers[0])
    assert new.count_params() == 42 and model.count_params() > 400
    np.testing.assert_allclose(
        *(arrays([each(images(3, 6))])[0] for each in (model, new)), 1e-5, 1e-5
    )


def test_linear_units_in_a_branch_are_left_out():
    model = linearize(shortcut())
    for unit in units_in(model):
        unit.kept.assign(np.ones(unit.slopes.shape))
        unit.frozen.assign(np.ones(unit.slopes.shape))
    assert len(foldable(model).units) == 2
    new = fold_linear(model)
    assert not units_in(new)
    check_equal(model, new, images(2, 6))


@pytest.mark.parametrize("around", ["dropped", "recomputed"])
def test_private_training_takes_units_in_a_branch(around):
    """What they only read is not kept of the examples."""
    model = shortcut() if around == "dropped" else chain(Recompute(branch()))
    new = linearize(model, strength=0.1)
    plan = tfdeep.privacy.Plan(24, 8, 2, 1e-5, noise_multiplier=1.0)
    private = tfdeep.privacy.PrivateModel(new, plan)
    private.compile("sgd", "mse", jit_compile=BACKEND == "jax")
    x, y = images(24, 6), images(24, *model.output_shape[1:])
    batches = tfdeep.privacy.poisson_batches(x, y, plan)
    logs = private.fit(batches, verbose=0).history
    assert np.isfinite(logs["loss"]).all()
    assert any(np.array(unit.slopes).any() for unit in units_in(new))


def test_a_quantized_branch():
    layer = StochasticDepth(layers.Dense(32, "relu"), 0.5)
    model = chain(layer, layers.Dense(8))
    layer.layer.quantize("int8")
    new = linearize(model)
    assert len(units_in(new)) == 1
    check_equal(model, new, images(3, 6))


def test_units_in_a_branch_are_sliced():
    block = BasicBlock(8, survival_probability=0.5, seed=1)
    model = linearize(chain(block, layers.Flatten(), shape=(6, 6, 8)))
    for unit in units_in(model):
        unit.slopes.assign(np.linspace(0, 1, 8) * np.ones(unit.slopes.shape))
    graph = tfdeep.pruning.ChannelGraph(model)
    scores = tfdeep.pruning.Random(seed=2).scores(graph)
    plan = graph.plan(scores, ratio=0.5, scope="local")
    small = plan.compact(model)
    found = tfdeep.pruning.verify(model, small, plan, images(2, 6, 6, 8))
    assert found.exact
    assert sorted(unit.slopes.shape[-1] for unit in units_in(small)) == [4, 8]


def test_the_optimizer_keeps_what_it_knows_of_a_branch():
    model = shortcut()
    optimizer = keras.optimizers.SGD(0.1, momentum=0.9)
    model.compile(optimizer, "mse", jit_compile=BACKEND == "jax")
    x, y = images(8, 6), images(8, 2)
    for _ in range(3):
        model.train_on_batch(x, y)
    new = linearize(model)
    for each in (model, new):
        each.train_on_batch(x, y)
    for unit in units_in(new):  # They have learned something, too.
        unit.slopes.assign(np.zeros(unit.slopes.shape))
    check_equal(model, new, x)
