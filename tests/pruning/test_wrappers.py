"""Slimming and Taylor pruning of models that a wrapper trains."""

import keras
import numpy as np
import pytest
from keras import layers

import tfdeep
from tests.helpers import arrays
from tests.pruning.zoo import conv
from tfdeep.privacy import GaussianMechanism, NotPrivateError, PrivateModel
from tfdeep.pruning import ChannelGraph, Slimming, TaylorPruning, prune
from tfdeep.training import (
    BatchEntropyRegularizer,
    DeepSupervision,
    Head,
    RelayBackpropagation,
)

RNG = np.random.default_rng(0)
X = RNG.normal(size=(16, 6, 6, 3)).astype("float32")
Y = RNG.integers(0, 3, 16)
LOSS = "sparse_categorical_crossentropy"
WRAPPERS = {
    "entropy": BatchEntropyRegularizer,
    "deep": lambda model: DeepSupervision(model, {"act_a": Head()}),
    "relay": lambda model: RelayBackpropagation(model, {"act_a": Head()}),
    "both": lambda model: BatchEntropyRegularizer(
        DeepSupervision(model, {"act_a": Head()})
    ),
}


def net(normalization=layers.BatchNormalization):
    keras.utils.set_random_seed(0)
    x = i = keras.Input((6, 6, 3))
    for name in "ab":
        x = conv(8, name, use_bias=False)(x)
        x = normalization(name=f"norm_{name}")(x)
        x = layers.ReLU(name=f"act_{name}")(x)
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(i, layers.Dense(3, "softmax", name="out")(x))


def grouped():
    return net(lambda name: layers.GroupNormalization(-1, name=name))


def taylor(model, form="batch_norm"):
    return TaylorPruning(
        keras.optimizers.SGD(0.1), model, channels=6, channels_per_step=2,
        frequency=1, form=form,
    )  # fmt: skip


def fit(model, optimizer, x=X, **settings):
    model.compile(optimizer, LOSS, **settings)
    return model.fit(x, Y, batch_size=8, epochs=2, shuffle=False, verbose=0)


@pytest.mark.parametrize("kind", WRAPPERS)
def test_scales_are_pulled_within_a_wrapper(kind):
    """The step differs by strength * sign(gamma), the logs do not."""
    found = []
    for strength in (0.0, 0.1):
        model = net()
        wrapper = WRAPPERS[kind](model)
        Slimming(strength, gamma=0.5).attach(wrapper)
        wrapper.compile(keras.optimizers.SGD(0.5), LOSS)
        logs = wrapper.train_on_batch(X, Y, return_dict=True)
        found.append((np.array(model.get_layer("norm_a").gamma), logs))
    (plain, reported), (pulled, also_reported) = found
    np.testing.assert_allclose(plain - pulled, 0.5 * 0.1, rtol=1e-4)
    assert reported == pytest.approx(also_reported)


@pytest.mark.parametrize(
    "kind, mode", [(kind, False) for kind in WRAPPERS] + [("both", True)]
)
def test_taylor_pruning_within_a_wrapper(kind, mode):
    model = net()
    wrapper = WRAPPERS[kind](model)
    optimizer = taylor(wrapper)
    fit(wrapper, optimizer, jit_compile=mode)
    plan = optimizer.plan(model)
    assert sum(map(len, plan.removed.values())) == 6
    assert plan.removed == optimizer.plan(wrapper).removed
    for each in (model, wrapper):
        small = plan.compact(each)
        np.testing.assert_allclose(small(X), model(X), 1e-4, 1e-5)


def test_the_optimizer_of_the_model_inside_says_what_is_wrong():
    wrapper = WRAPPERS["deep"](net())
    with pytest.raises(ValueError, match="for the model that it trains"):
        fit(wrapper, taylor(wrapper.base))


@pytest.mark.parametrize("kind", WRAPPERS)
def test_a_wrapper_stands_for_its_model(kind):
    model = net()
    wrapper = WRAPPERS[kind](model)
    wrapper.compile("sgd", LOSS)
    assert ChannelGraph(wrapper).fingerprint() == (
        ChannelGraph(model).fingerprint()
    )
    for small in (prune(wrapper, 0.5), Slimming().prune(wrapper, 0.5)):
        assert type(small) is type(model)
        assert small.count_params() < 0.5 * model.count_params()


def test_a_base_of_a_users_model_is_a_part_of_it():
    class Mine(keras.Model):
        def __init__(self):
            super().__init__()
            self.base = net()
            self.last = layers.Dense(2, name="last")

        def call(self, x):
            return self.last(self.base(x))

    model = Mine()
    model(X)
    softmax, last = (g for g in ChannelGraph(model).groups if g.frozen)
    assert (softmax.channels, last.channels) == (3, 2)


class TestPrivate:
    def test_scores_are_of_what_is_released(self):
        """Gradients far apart, clipped to almost nothing: equal scores."""
        found = []
        for x in (X, 3 - X):
            base = grouped()
            model = PrivateModel(
                base,
                l2_norm_clip=1e-7,
                mechanism=GaussianMechanism(noise_multiplier=1e7),
                seed=1,
            )
            optimizer = taylor(base, form="weight")
            fit(model, optimizer, x=x)
            found.append(
                [*arrays([optimizer.kept, optimizer.average]), base(X)]
            )
            assert sum(map(len, optimizer.plan(base).removed.values())) == 6
        (kept, average, outputs), (others, again, _) = found
        np.testing.assert_array_equal(kept, others)
        assert np.max(average) > 1e-4
        np.testing.assert_allclose(average, again, 1e-3)
        small = optimizer.plan(base).compact(base)
        np.testing.assert_allclose(small(X), base(X), 1e-4, 1e-5)

    def test_no_scores_while_nothing_is_released(self):
        """Accumulated batches before an update give 0."""
        base = grouped()
        model = PrivateModel(
            base, mechanism=GaussianMechanism(noise_multiplier=1.0)
        )
        optimizer = TaylorPruning(
            keras.optimizers.SGD(0.1, gradient_accumulation_steps=2),
            base, channels=2, frequency=9, form="weight",
        )  # fmt: skip
        model.compile(optimizer, LOSS)
        totals = []
        for _ in range(4):
            model.train_on_batch(X[:4], Y[:4])
            totals.append(float(np.sum(optimizer.total)))
        assert totals[0] == 0 and totals[1] > 0
        assert totals[2] == totals[1] and totals[3] > totals[2]

    def test_slimming_needs_what_private_models_refuse(self):
        model = net()
        Slimming().attach(model)
        with pytest.raises(NotPrivateError, match="Use GroupNormalization"):
            PrivateModel(model)
        private = PrivateModel(grouped())
        with pytest.raises(ValueError, match="must have BatchNormalization"):
            Slimming().attach(private)
        with pytest.raises(ValueError, match="must have channels that can"):
            taylor(private)

    def test_a_penalty_on_a_weight_comes_after_the_clip(self):
        """The scale's penalty goes on in the normalization put in its place."""
        found = []
        for strength in (0.0, 0.1):
            model = net()
            Slimming(strength, gamma=0.5).attach(model)
            model = tfdeep.privacy.replace_batch_norm(model)
            gamma = next(v for v in model.weights if v.path.endswith("gamma"))
            private = PrivateModel(
                model,
                l2_norm_clip=1e-3,
                mechanism=GaussianMechanism(noise_multiplier=0.0),
            )
            private.compile(keras.optimizers.SGD(0.5), LOSS)
            private.train_on_batch(X, Y)
            found.append(np.array(gamma))
        np.testing.assert_allclose(found[0] - found[1], 0.05, rtol=1e-3)
