"""What is refused, with reason and replacement, and what a trial finds."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from tests.helpers import close
from tfdeep import privacy
from tfdeep.layers import BatchEntropy
from tfdeep.privacy import NotPrivateError, PrivateModel


class Keeps(layers.Layer):
    def build(self, shape):
        self.seen = self.add_weight(
            shape=(shape[-1],),
            initializer="zeros",
            trainable=False,
            name="seen",
        )

    def call(self, x):
        self.seen.assign(self.seen + ops.mean(x, axis=0))
        return x


class Adds(layers.Layer):
    def call(self, x):
        self.add_loss(ops.sum(x))
        return x


class Mixes(layers.Layer):
    def call(self, x):
        return x - ops.mean(x, axis=0, keepdims=True)


class Trusted(Mixes):
    """Taken for a layer of this package."""

    __module__ = "tfdeep.layers"


class Centers(Mixes):
    """With a weight of its own."""

    def build(self, shape):
        self.scale = self.add_weight(shape=(shape[-1],), initializer="ones")

    def call(self, x):
        return super().call(x * self.scale)


REFUSED = {
    "GroupNormalization": lambda: layers.BatchNormalization(),
    "WeightStandardized": lambda: layers.SpectralNormalization(layers.Dense(3)),
    "without batch entropy": lambda: BatchEntropy(),
    "compiled loss": lambda: layers.ActivityRegularization(0.1),
    "mixed_bfloat16": lambda: layers.Dense(3, dtype="mixed_float16"),
}


@pytest.mark.parametrize("remedy", REFUSED)
def test_refused_by_rule(remedy, private):
    with pytest.raises(NotPrivateError, match=remedy):
        private(REFUSED[remedy]())


@pytest.mark.parametrize("method", ["auto", "vectorized"])
@pytest.mark.parametrize(
    "layer, text", [(Keeps, "changed .*seen"), (Adds, "added 1 losses")]
)
def test_refused_when_it_runs(layer, text, method, private, data):
    model = private(layer(), method=method)
    with pytest.raises(NotPrivateError, match=text):
        model.clipped_sum(*data)


def test_a_frozen_batch_norm_is_no_secret(private, data):
    frozen = layers.BatchNormalization()
    frozen.trainable = False
    private(frozen).clipped_sum(*data)


def test_a_trial_finds_what_no_rule_knows(private, data):
    batch = [each[:4] for each in data]
    with pytest.raises(NotPrivateError, match="Example 0 was exchanged"):
        privacy.validate(private(Trusted()), batch)
    privacy.validate(private(Trusted(), method="vectorized"), batch)
    privacy.validate(private(layers.Dropout(0.5, seed=1)), batch)
    with pytest.raises(ValueError, match="two or more"):
        privacy.validate(private(), [each[:1] for each in data])


def graph(function):
    """A nested model that applies an operation."""
    x = keras.Input((6,))
    return keras.Model(x, function(x))


UNKNOWN = {
    "layer": Mixes,
    "layer with weights": Centers,
    "function": lambda: layers.Lambda(Mixes().call),
    "activation": lambda: layers.Dense(6, Mixes().call),
    "mean": lambda: graph(lambda x: x - ops.mean(x, axis=0, keepdims=True)),
    "order": lambda: graph(lambda x: x + ops.flip(x, axis=0)),
    "sums": lambda: graph(lambda x: x * ops.cumsum(x, axis=-2)),
    "product": lambda: graph(
        lambda x: ops.matmul(ops.matmul(x, ops.transpose(x)), x)
    ),
    "rows": lambda: graph(lambda x: x + ops.einsum("bi,ci->bi", x, x)),
}


@pytest.mark.parametrize("kind", UNKNOWN)
def test_what_may_mix_examples_sees_one_at_a_time(kind, private, data):
    batch = [each[:4] for each in data]
    mixing = UNKNOWN[kind]()
    privacy.validate(private(mixing), batch)
    ours, apart = (
        private(mixing, method=method).clipped_sum(*batch)
        for method in ("auto", "loop")
    )
    close(ours, apart)


KNOWN = {
    "relu": ops.relu,
    "difference": lambda x: x - ops.mean(x, axis=1, keepdims=True),
    "softmax": lambda x: x * ops.softmax(x),
    "shape": lambda x: ops.reshape(ops.reshape(x, (-1, 2, 3)), (-1, 6)),
    "parts": lambda x: ops.concatenate([x[:, 3:], x[:, :3]], axis=-1),
}


@pytest.mark.parametrize("kind", KNOWN)
def test_operations_within_an_example_keep_the_fast_way(kind, private, data):
    model = private(graph(KNOWN[kind]))
    assert "book-keeping" in model.describe_clipping()
    close(
        model.clipped_sum(*data),
        private(graph(KNOWN[kind]), method="loop").clipped_sum(*data),
    )


def test_mixing_views_are_refused():
    with pytest.raises(ValueError, match="mixes examples"):
        privacy.Views(layers.MixUp())


def test_a_step_of_ones_own_is_refused(data):
    class Bypass(PrivateModel):
        def train_step(self, *args):
            return {}

    base = keras.Sequential([keras.Input((8,)), layers.Dense(3)])
    with pytest.raises(NotPrivateError, match="past the clip"):
        Bypass(base).compile("sgd", "mse")


def test_data_of_another_kind(private, budget, data):
    def refuse(plan, text, **arguments):
        with pytest.raises(NotPrivateError, match=text):
            private(plan=plan).fit(*data, verbose=0, **arguments)

    refuse(budget(sampling="poisson"), "accounts for Poisson", batch_size=8)
    refuse(budget(num_examples=33), "32 training examples", batch_size=8)
    refuse(budget(), "24 training", batch_size=8, validation_split=0.25)
    refuse(budget(), "batches of 16", batch_size=16)


def test_replacing_batch_norm(data):
    inputs = keras.Input((6, 6, 3))
    x = layers.Conv2D(12, 3)(inputs)
    x = layers.BatchNormalization(epsilon=1e-4)(x)
    outputs = layers.Dense(3)(layers.Flatten()(x))
    model = keras.Model(inputs, outputs)
    model.layers[2].gamma.assign(np.arange(12) + 1.0)
    new = privacy.replace_batch_norm(model, groups=5)
    norm = new.layers[2]
    assert type(norm) is layers.GroupNormalization
    assert norm.groups == 4 and norm.epsilon == 1e-4
    close([norm.gamma.numpy()], [np.arange(12) + 1.0])
    close(new.layers[1].get_weights(), model.layers[1].get_weights())
    PrivateModel(new)
