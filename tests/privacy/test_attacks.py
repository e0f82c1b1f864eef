"""Ways in which training could look private and not be, each of them tried."""

import copy
import itertools

import keras
import numpy as np
import pytest
from keras import layers, ops

from tests.helpers import arrays, close
from tests.privacy.in_order import InOrder
from tfdeep import privacy
from tfdeep.privacy import (
    GaussianMechanism,
    NotPrivateError,
    Plan,
    PrivateModel,
    TreeAggregation,
    poisson_batches,
)

SETTINGS = {
    "adaptive": privacy.AdaptiveClipping(0.5),
    "averaging": privacy.Averaging(0.9),
    "clipping": privacy.AutomaticClipping(1.0),
    "gaussian": GaussianMechanism(),
    "plan": Plan(32, 8, 9, 1e-5, noise_multiplier=1.0, accountant="rdp"),
    "tree": TreeAggregation(1.0, 4),
    "views": privacy.Views(layers.RandomFlip(), 2),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_settings_do_not_change(name):
    """Another model may hold them."""
    for attribute in [*vars(SETTINGS[name]), "new"]:
        with pytest.raises(AttributeError, match="cannot"):
            setattr(SETTINGS[name], attribute, 0.0)
    assert type(copy.deepcopy(SETTINGS[name])) is type(SETTINGS[name])


def spread(model, x, y):
    """The standard deviation of what one update of no example moves."""
    before = model.base.get_weights()
    model.train_on_batch(x, y, np.zeros(len(x), "float32"))
    after = model.base.get_weights()
    moved = [np.ravel(a - b) for a, b in zip(after, before, strict=True)]
    return np.std(np.concatenate(moved))


@pytest.mark.parametrize(
    "shared, expected",
    [
        (GaussianMechanism(), (8.0, 0.25)),
        # A count has noise of its own: 8 and 0.4, the largest of which are
        # the noise multiplier and a twentieth of the batch.
        (
            privacy.AdaptiveClipping(0.5, learning_rate=0.0),
            ((8**-2 - 16**-2) ** -0.5, (0.25**-2 - 0.8**-2) ** -0.5),
        ),
    ],
    ids=["gaussian", "adaptive"],
)
def test_one_mechanism_in_two_models(shared, expected, private, budget, data):
    """The noise of each is that of its own plan, whichever came last."""
    strong, weak = (
        private(
            layers.Dense(600),
            plan=budget(noise_multiplier=sigma),
            mechanism=shared,
            optimizer=keras.optimizers.SGD(1.0),
        )
        for sigma in (8.0, 0.25)
    )
    x, y = data[0][:8], data[1][:8]
    for _ in range(2):
        found = [8 * spread(model, x, y) for model in (strong, weak)]
        np.testing.assert_allclose(found, expected, rtol=0.1)


def accumulating(private, budget, **arguments):
    return private(
        plan=budget(**arguments),
        optimizer=keras.optimizers.SGD(1.0, gradient_accumulation_steps=4),
    )


def test_a_refused_batch_releases_nothing_of_those_before(
    private, budget, data
):
    """The last batch of an update has too many rows."""
    model = accumulating(private, budget, batch_size=32)
    before = model.base.get_weights()
    rows = [slice(0, 8), slice(8, 16), slice(16, 24), slice(0, 32)]
    parts = [tuple(each[part] for each in data) for part in rows]
    with pytest.raises(NotPrivateError, match="Received: 1 batches"):
        model.fit(
            (part for part in parts),
            steps_per_epoch=4,
            shuffle=False,
            verbose=0,
        )
    close(model.base.get_weights(), before, 0, 0)
    assert model.count_of_updates() == 0
    assert not any(np.any(v) for v in arrays(model.memory.window))


def test_the_count_never_falls(private, budget, data, tmp_path):
    model = private(plan=budget(steps=6))
    weights = model.get_weights()
    model.save_weights(tmp_path / "early.weights.h5")
    model.fit(InOrder(data, 8), verbose=0)
    model.set_weights(weights)
    assert model.count_of_updates() == 4
    model.load_weights(tmp_path / "early.weights.h5")
    assert model.count_of_updates() == 4
    model.compile("sgd", model.loss)
    assert model.count_of_updates() == 4
    for twin in (
        PrivateModel.from_config(model.get_config()),
        keras.models.clone_model(model),
    ):
        assert twin.count_of_updates() == 4
        twin.compile("sgd", model.loss)
        assert twin.count_of_updates() == 4


@pytest.mark.slow
def test_callbacks_that_restore_give_nothing_back(
    private, budget, data, tmp_path
):
    model = private(plan=budget(steps=10))
    callbacks = [
        keras.callbacks.EarlyStopping(
            "loss", patience=0, baseline=0.0, restore_best_weights=True
        ),
        keras.callbacks.BackupAndRestore(tmp_path),
    ]
    for _ in range(3):
        if model.updates_left():
            model.fit(
                InOrder(data, 8), epochs=3, callbacks=callbacks, verbose=0
            )
    assert model.count_of_updates() == 10
    with pytest.raises(RuntimeError, match="0 updates left"):
        model.fit(InOrder(data, 8), verbose=0)


POISSON = Plan(32, 8, 20, 1e-5, noise_multiplier=1.0, accountant="rdp")


def test_only_samples_of_the_plan_are_trained_on(private, data):
    """Each of them once."""
    model = private(plan=POISSON)
    batch = poisson_batches(*data, POISSON)[0]
    model.train_on_batch(*batch)
    rows = len(batch[2])
    mine = [*(each[:rows] for each in data), np.ones(rows, "float32")]
    other = Plan(32, 8, 21, 1e-5, noise_multiplier=1.0, accountant="rdp")
    for wrong in (batch, mine, poisson_batches(*data, other)[0]):
        with pytest.raises(NotPrivateError, match="must be a Poisson sample"):
            model.train_on_batch(*wrong)
    with pytest.raises(NotPrivateError, match="rows of a padded"):
        model.train_on_batch(data[0][:3], data[1][:3], np.ones(3, "float32"))
    assert model.count_of_updates() == 1


def test_a_sample_is_a_whole_update(private, data):
    optimizer = keras.optimizers.SGD(0.1, gradient_accumulation_steps=2)
    model = private(plan=POISSON, optimizer=optimizer)
    with pytest.raises(NotPrivateError, match="whole update"):
        model.train_on_batch(*poisson_batches(*data, POISSON)[0])


def test_arrays_are_shuffled(private, budget, data):
    model = private(plan=budget())
    with pytest.raises(NotPrivateError, match="shuffle=False"):
        model.fit(*data, batch_size=8, shuffle=False, verbose=0)
    assert model.count_of_updates() == 0


@pytest.mark.tensorflow
def test_a_loop_of_ones_own_passes_the_gate(private, budget, data):
    """Beyond the plan, and with too many rows, a step shows nothing."""
    import tensorflow as tf

    model = private(plan=budget(steps=2))
    step = tf.function(model.train_step)
    for size, moves in ((12, False), (8, True), (8, True), (8, False)):
        before = model.base.get_weights()
        step(tuple(tf.constant(each[:size]) for each in data))
        after = model.base.get_weights()
        assert moves == bool(np.any(before[0] != after[0]))
    assert model.count_of_updates() == 2
    model = private(plan=POISSON)
    with pytest.raises(NotPrivateError, match="without weights"):
        tf.function(model.train_step)(tuple(map(tf.constant, data)))


@pytest.mark.tensorflow
def test_a_loop_of_ones_own_trains_on_poisson_samples_alone(private, data):
    """Other rows show nothing, be they as many and weighted."""
    import tensorflow as tf

    model = private(plan=POISSON)
    step = tf.function(model.train_step)
    x, y, weights = poisson_batches(*data, POISSON, seed=0)[0]
    plain = np.where(weights == 0, np.float32(0.0), weights)
    for given, moves in (
        (weights, True),
        (plain, False),
        (np.ones_like(weights), False),
        (np.zeros_like(weights), True),  # It shows no example: noise alone.
    ):
        before = model.base.get_weights()
        step(tuple(map(tf.constant, (x, y, given))))
        after = model.base.get_weights()
        assert moves == bool(np.any(before[0] != after[0]))
    assert model.count_of_updates() == 2
    assert model.count_of_refused() == 2


OWN = {
    "train_step": lambda self, *arguments: {},
    "update": lambda self, data: {},
    "make_train_function": lambda self, force=False: None,
    "call": lambda self, inputs, training=None: self.base(inputs),
}


@pytest.mark.parametrize("name", OWN)
def test_a_subclass_may_not_train_by_itself(name, private):
    kind = type("Own", (PrivateModel,), {name: OWN[name]})
    base = keras.Sequential([keras.Input((8,)), layers.Dense(3)])
    with pytest.raises(NotPrivateError, match=f"`{name}` of its own"):
        kind(base).compile("sgd", "mse")
    model = PrivateModel(base)
    setattr(model, name, None)
    with pytest.raises(NotPrivateError, match=f"`{name}` of its own"):
        model.compile("sgd", "mse")


@pytest.mark.parametrize("name", ["train_step", "compute_loss"])
def test_a_model_that_trains_itself_is_refused(name):
    own = {name: lambda self, *args, **kwargs: 0.0}
    base = type("Own", (keras.Sequential,), own)([layers.Dense(3)])
    with pytest.raises(NotPrivateError, match=f"`{name}` of its own"):
        PrivateModel(base)


def test_a_loss_may_not_use_weights_by_itself(data):
    """They would get no gradient of it."""

    class Decayed(PrivateModel):
        def compute_loss(self, *args, **kwargs):
            loss = super().compute_loss(*args, **kwargs)
            return loss + ops.sum(ops.square(self.base.layers[0].kernel))

    base = keras.Sequential([keras.Input((8,)), layers.Dense(3)])
    for method in ("auto", "vectorized"):
        model = Decayed(base, mechanism=GaussianMechanism(1.0), method=method)
        model.compile("sgd", "sparse_categorical_crossentropy")
        with pytest.raises(NotPrivateError, match="no gradient by .*kernel"):
            model.train_on_batch(*data)


def test_a_loss_scale_is_taken_off_again(private, data):
    scaled = keras.optimizers.SGD(0.1, loss_scale_factor=1024.0)
    silent = GaussianMechanism(0.0)
    ours = private(mechanism=silent, optimizer=scaled)
    plain = private(mechanism=silent)
    for each in (ours, plain):
        each.train_on_batch(*data)
    close(ours.base.get_weights(), plain.base.get_weights())


CHANGES = {
    "unfrozen": lambda base: setattr(base.layers[0], "trainable", True),
    "frozen": lambda base: setattr(base.layers[1], "trainable", False),
    "low rank": lambda base: base.layers[1].enable_lora(2),
}


@pytest.mark.parametrize("change", CHANGES)
def test_weights_that_train_since_are_trained(change, data):
    """After `compile`; without it, nothing is."""
    base = keras.Sequential([keras.Input((8,)), *map(layers.Dense, (6, 5, 3))])
    base.layers[0].trainable = False
    model = PrivateModel(
        base,
        mechanism=GaussianMechanism(1.0),
        averaging=privacy.Averaging(0.5),
    )
    model.compile(keras.optimizers.SGD(0.1), "mse")
    x, y = data[0], np.ones((32, 3), "float32")
    model.train_on_batch(x, y)
    CHANGES[change](base)
    with pytest.raises(NotPrivateError, match="Call `compile` again"):
        model.train_on_batch(x, y)
    model.compile(keras.optimizers.SGD(0.1), "mse")
    before = arrays(base.trainable_variables)
    kept = arrays(base.non_trainable_variables)
    model.train_on_batch(x, y)
    after = arrays(base.trainable_variables)
    assert all(np.any(a != b) for a, b in zip(after, before, strict=True))
    close(arrays(base.non_trainable_variables), kept, 0, 0)
    assert len(model.averages) == len(base.trainable_variables)
    assert model.count_of_updates() == 2


def test_all_combinations_of_steps_stay_within_the_plan(private, budget, data):
    """Two entries in turn, on one budget."""
    model = private(plan=budget(steps=5, num_examples=8))
    batch = [each[:8] for each in data]
    for fits in itertools.cycle([True, False]):
        try:
            if fits:
                model.fit(InOrder(batch, 8), verbose=0)
            else:
                model.train_on_batch(*batch)
        except RuntimeError:
            break
    assert model.count_of_updates() == 5
