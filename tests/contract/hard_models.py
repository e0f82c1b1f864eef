"""Models that are hard on whatever is put around them or changes them.

Each maker returns a built model from (batch, 5, 4) to three scores; `norm`
makes its normalization.  Those written by hand have weights, branches on
`training`, or a loss of their own.
"""

from collections.abc import Callable

import keras
from keras import layers, ops

from tests.contract.cases.plain import SEED
from tfdeep.layers.seed_state import Dropout

SHAPE = (5, 4)
Norm = Callable[[], layers.Layer]


def batch_norm() -> layers.Layer:
    return layers.BatchNormalization(momentum=0.5, name="norm")


def group_norm() -> layers.Layer:
    return layers.GroupNormalization(2, name="norm")


def glorot(index: int = 0):
    return keras.initializers.GlorotUniform(SEED + index)


@keras.saving.register_keras_serializable(package="tests")
class PlusOne(layers.Dense):
    """A layer with a `call` of its own."""

    def call(self, inputs):
        return super().call(inputs) + 1.0


def net(norm: Norm, kind=layers.Dense, **kwargs) -> keras.Model:
    """Two Dense layers, a normalization, and a mean over the steps."""
    inputs = keras.Input(SHAPE)
    x = kind(6, kernel_initializer=glorot(), name="low", **kwargs)(inputs)
    x = norm()(x)
    x = layers.Activation("tanh")(x)
    x = layers.Dense(6, "tanh", kernel_initializer=glorot(1), name="hidden")(x)
    x = layers.GlobalAveragePooling1D()(x)
    out = layers.Dense(3, kernel_initializer=glorot(2), name="out")(x)
    return keras.Model(inputs, out)


def frozen(norm: Norm) -> keras.Model:
    """The normalization and the lowest layer do not train."""
    model = net(norm)
    model.get_layer("low").trainable = False
    model.get_layer("norm").trainable = False
    return model


def masked(norm: Norm) -> keras.Model:
    """Steps of zeros are padding, which the mean leaves out."""
    inputs = keras.Input(SHAPE)
    x = layers.Masking()(inputs)
    x = layers.Dense(6, "tanh", kernel_initializer=glorot(), name="hidden")(x)
    x = layers.GlobalAveragePooling1D()(x)
    out = layers.Dense(3, kernel_initializer=glorot(2), name="out")(x)
    return keras.Model(inputs, out)


def mixed(norm: Norm) -> keras.Model:
    """Computes in bfloat16, with weights in float32."""
    keras.config.set_dtype_policy("mixed_bfloat16")
    return net(norm)


def reloaded(norm: Norm) -> keras.Model:
    """Made from its configuration and its weights, as from a file."""
    model = net(norm)
    twin = keras.Model.from_config(model.get_config())
    twin.set_weights(model.get_weights())
    return twin


def subclassed(norm: Norm) -> keras.Model:
    """Has a layer that overrides the `call` of a layer of Keras."""
    return net(norm, PlusOne)


def shared(norm: Norm) -> keras.Model:
    """Calls one layer twice."""
    inputs = keras.Input(SHAPE)
    low = layers.Dense(4, "tanh", kernel_initializer=glorot(), name="low")
    x = low(low(inputs))
    x = layers.Dense(6, "tanh", kernel_initializer=glorot(1), name="hidden")(x)
    x = layers.GlobalAveragePooling1D()(x)
    out = layers.Dense(3, kernel_initializer=glorot(2), name="out")(x)
    return keras.Model(inputs, out)


class ByHand(keras.Model):
    """A model written by hand: a few layers, called one after the other."""

    def __init__(self):
        super().__init__()
        self.hidden = layers.Dense(
            6, "tanh", kernel_initializer=glorot(), name="hidden"
        )
        self.drop = Dropout(0.0, seed=SEED, name="drop")
        self.out = layers.Dense(3, kernel_initializer=glorot(2), name="out")

    def call(self, inputs, training=None):
        x = self.drop(self.hidden(inputs), training=training)
        return self.out(ops.mean(x, axis=1))


class OwnWeight(ByHand):
    """Adds a weight of its own, such as a class token."""

    def build(self, input_shape):
        self.token = self.add_weight(
            shape=(1, 1, 4), initializer="ones", name="token"
        )
        super().build(input_shape)

    def call(self, inputs, training=None):
        return super().call(inputs * ops.sigmoid(self.token), training)


class Tied(ByHand):
    """Uses the kernel of a layer a second time, as tied embeddings do."""

    def call(self, inputs, training=None):
        x = ops.mean(self.hidden(inputs), axis=1)
        return self.out(ops.matmul(x, ops.transpose(self.hidden.kernel)))


class TiedEmbedding(keras.Model):
    """Scores of words by the table that embedded them: logits per step."""

    def __init__(self, einsum: bool = False):
        super().__init__()
        start = keras.initializers.RandomNormal(stddev=0.5, seed=SEED)
        self.embed = layers.Embedding(7, 6, embeddings_initializer=start)
        self.hidden = layers.Dense(6, "tanh", kernel_initializer=glorot())
        self.einsum = einsum

    def call(self, words):
        x, table = self.hidden(self.embed(words)), self.embed.embeddings
        if self.einsum:
            return ops.einsum("bth,vh->btv", x, table)
        return ops.matmul(x, ops.transpose(table))


class OwnBranch(ByHand):
    """Does more in training than at inference."""

    def call(self, inputs, training=None):
        if training:
            inputs = 2.0 * inputs
        return super().call(inputs, training)


class OwnLoss(ByHand):
    """Adds to the compiled loss in `compute_loss`."""

    def compute_loss(
        self, x=None, y=None, y_pred=None, sample_weight=None, training=True
    ):
        loss = super().compute_loss(x, y, y_pred, sample_weight, training)
        return loss + ops.mean(ops.square(y_pred))


class OwnStep(ByHand):
    """Trains on twice the input, in a `train_step` of its own."""

    def train_step(self, *args):
        (x, y), *state = (
            args[::-1] if keras.backend.backend() == "jax" else args
        )
        data = (2.0 * x, y)
        return super().train_step(*state, data)


def by_hand(kind: type) -> Callable[[Norm], keras.Model]:
    def make(norm: Norm) -> keras.Model:
        model = kind()
        model(keras.Input(SHAPE))
        return model

    return make


HARD_MODELS = {
    "ordinary": net,
    "frozen": frozen,
    "masked": masked,
    "mixed": mixed,
    "reloaded": reloaded,
    "subclassed": subclassed,
    "shared": shared,
    "by hand": by_hand(ByHand),
    "own weight": by_hand(OwnWeight),
    "tied": by_hand(Tied),
    "own branch": by_hand(OwnBranch),
    "own loss": by_hand(OwnLoss),
    "own step": by_hand(OwnStep),
}
