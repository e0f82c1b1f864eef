"""What cannot be trained privately is refused, with what to use instead."""

import keras
import pytest
from keras import layers

from tests.privacy.layers_that_mix import Adds, Keeps
from tfdeep.layers import BatchEntropy
from tfdeep.privacy import NotPrivateError, PrivateModel
from tfdeep.training import BatchEntropyRegularizer

REFUSED = {
    "GroupNormalization": lambda: layers.BatchNormalization(),
    "WeightStandardized": lambda: layers.SpectralNormalization(layers.Dense(3)),
    "without batch entropy": lambda: BatchEntropy(),
    "compiled loss": lambda: layers.ActivityRegularization(0.1),
    "Put the term into": lambda: layers.Dense(3, activity_regularizer="l2"),
    "mixed_bfloat16": lambda: layers.Dense(3, dtype="mixed_float16"),
    "flips, shifts, noise": lambda: layers.MixUp(),
}


@pytest.mark.parametrize("remedy", REFUSED)
def test_refused_by_rule(remedy, private):
    with pytest.raises(NotPrivateError, match=remedy):
        private(REFUSED[remedy]())


@pytest.mark.parametrize(
    "layer, text, method",
    [
        (Keeps, "changed .*seen", "auto"),
        (Adds, "added 1 losses", "auto"),
        (Keeps, "changed .*seen", "vectorized"),
        (Adds, "added 1 losses", "vectorized"),
    ],
)
def test_refused_when_it_runs(layer, text, method, private, data):
    model = private(layer(), method=method)
    with pytest.raises(NotPrivateError, match=text):
        model.clipped_sum(*data)


def test_many_of_one_kind_are_one_line():
    stack = [keras.Input((8,))]
    for _ in range(5):
        stack += [layers.Dense(4), layers.BatchNormalization()]
    stack.append(layers.ActivityRegularization(0.1, name="extra"))
    with pytest.raises(NotPrivateError) as refusal:
        PrivateModel(keras.Sequential(stack))
    first, second = str(refusal.value).splitlines()
    assert first.startswith(
        "5 layers (BatchNormalization 'batch_normalization', "
        "BatchNormalization 'batch_normalization_1', "
        "BatchNormalization 'batch_normalization_2' and 2 more): each "
        "normalises"
    )
    assert "tfdeep.privacy.replace_batch_norm(model) puts it in" in first
    assert second.startswith("ActivityRegularization 'extra' adds a loss")


def test_a_frozen_batch_norm_is_no_secret(private, data):
    frozen = layers.BatchNormalization()
    frozen.trainable = False
    private(frozen).clipped_sum(*data)


@pytest.fixture
def quantised():
    base = net()
    base.layers[0].quantize("float8")
    return base


def test_what_is_quantised_to_float8_is_refused(quantised):
    with pytest.raises(NotPrivateError, match="before it is quantised"):
        PrivateModel(quantised)


def test_a_stateful_layer_is_refused():
    """Also where Keras' own message would be about sizes of batches."""
    inputs = keras.Input(batch_shape=(8, 3, 4))
    for layer in (
        layers.LSTM(2, stateful=True),
        layers.Bidirectional(layers.GRU(2, stateful=True)),
    ):
        with pytest.raises(NotPrivateError, match="stateful=False"):
            PrivateModel(keras.Model(inputs, layer(inputs)))


def test_a_regularizer_without_a_config_is_named():
    class Squares(keras.regularizers.Regularizer):
        def __call__(self, weights):
            return keras.ops.sum(keras.ops.square(weights))

    layer = layers.Dense(3, kernel_regularizer=Squares(), name="last")
    with pytest.raises(ValueError, match="'last'.*Squares.*Define"):
        PrivateModel(keras.Sequential([keras.Input((8,)), layer]))


def net():
    return keras.Sequential([keras.Input((8,)), layers.Dense(3)])


def test_a_step_of_ones_own_is_refused():
    class Bypass(PrivateModel):
        def train_step(self, *args):
            return {}

    with pytest.raises(NotPrivateError, match="past the clip"):
        Bypass(net()).compile("sgd", "mse")


def test_a_loss_scale_is_refused():
    scaled = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD())
    with pytest.raises(NotPrivateError, match="loss scale"):
        PrivateModel(net()).compile(scaled, "mse")


def test_a_wrapper_with_a_loss_of_its_own_is_refused():
    stack = [keras.Input((8,)), layers.Dense(5), layers.ReLU(), layers.Dense(3)]
    wrapped = BatchEntropyRegularizer(keras.Sequential(stack))
    with pytest.raises(NotPrivateError, match="Wrap the plain model"):
        PrivateModel(wrapped)


@pytest.mark.parametrize(
    "error, arguments",
    [
        (TypeError, {"base": "net"}),
        (ValueError, {"method": "fast"}),
        (ValueError, {"mechanism": "laplace"}),
        (ValueError, {"microbatch_size": 0}),
        (ValueError, {"seed": -1}),
        (ValueError, {"l2_norm_clip": -1.0}),
    ],
    ids=str,
)
def test_bad_arguments_are_refused(error, arguments):
    with pytest.raises(error) as refusal:
        PrivateModel(**{"base": net(), **arguments})
    assert str(refusal.value).count(". ") >= 2
