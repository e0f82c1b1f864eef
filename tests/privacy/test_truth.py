"""What the comparison with plain differentiation finds, and lets pass."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from tfdeep import privacy
from tfdeep.privacy import truth
from tfdeep.privacy.per_example.gradients import Gradients, Instances
from tfdeep.privacy.per_example.vectorized import Vectorized

X = np.array([[1, -1, 2, -2, 3, -3, 0.5, -0.5]], "float32")
Y = np.ones((1, 2), "float32")


class Otherwise:
    """An engine whose gradients are those at other weights, or larger."""

    def __init__(self, engine, shift=0.0, factor=1.0):
        self.engine = engine
        self.seeds = engine.seeds
        self.shift = shift
        self.factor = factor

    def run(self, trainable, *rest, **kwargs):
        moved = [trainable[0] + self.shift, *trainable[1:]]
        batch = self.engine.run(moved, *rest, **kwargs)
        count = ops.shape(batch.losses)[0]
        kept = ops.ones((count,), "bool")
        records = batch.gradients.records(kept)
        longer = Gradients([Instances(self.factor * g) for g in records])
        return batch._replace(gradients=longer)


@pytest.fixture
def model():
    """A unit of a ReLU is 0 for the example, to the last digit."""
    keras.utils.set_random_seed(0)
    first = layers.Dense(4, "relu", use_bias=False)
    base = keras.Sequential([keras.Input((8,)), first, layers.Dense(2)])
    kernel = ops.convert_to_numpy(first.kernel).copy()
    kernel[:, 0] = 1.0
    first.kernel.assign(kernel)
    made = privacy.PrivateModel(
        base, mechanism=privacy.GaussianMechanism(noise_multiplier=1.0)
    )
    made.compile("sgd", "mse")
    return made


def found(model, **how):
    engine = Otherwise(model._private.engine, **how)
    return truth.wrong_weights(engine, model.base, model, (X, Y, None))


def test_a_unit_within_rounding_of_its_kink_is_no_fault(model, monkeypatch):
    monkeypatch.setattr(truth, "moved", lambda variable, _: variable.value)
    # The sum of the inputs is 0: the shift of one weight alone decides.
    shift = np.zeros((8, 4), "float32")
    shift[0, 0] = 1e-6
    assert found(model, shift=shift) == []
    shift[0, 0] = 1e-2
    assert found(model, shift=shift)


def test_gradients_that_are_one_percent_too_long_are_a_fault(model):
    assert found(model) == []
    paths = [v.path for v in model.trainable_variables]
    assert found(model, factor=1.01) == paths


def test_the_loss_is_made_without_the_model(model):
    """Its layers, called one by one, would each be compiled by JAX."""
    calls = []
    call = model.base.layers[0].call
    model.base.layers[0].call = lambda x: calls.append(x) or call(x)
    model._make_loss(X, Y, None)
    assert all(isinstance(each, keras.KerasTensor) for each in calls)


def traced_step(model):
    """A step in a program of one's own."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tf.function(model.train_step)((tf.constant(X), tf.constant(Y)))
        return
    import jax

    model.optimizer.build(model.base.trainable_variables)
    state = tuple(
        [v.value for v in variables]
        for variables in (
            model.trainable_variables,
            model.non_trainable_variables,
            model.optimizer.variables,
            model.metrics_variables,
        )
    )
    jax.jit(model.train_step)(state, (X, Y))


@pytest.mark.parametrize("recurrent", [False, True])
@pytest.mark.parametrize(
    "use", [lambda model: model.clipped_sum(X, Y), traced_step]
)
def test_it_is_made_at_any_first_use(use, recurrent, model):
    """Also where gradients are not recorded otherwise, and of loops."""
    if recurrent:
        stack = [layers.Reshape((4, 2)), layers.LSTM(3), layers.Dense(2)]
        base = keras.Sequential([keras.Input((8,)), *stack])
        model = privacy.PrivateModel(base, mechanism=model.mechanism)
        model.compile("sgd", "mse")
    engine = model._private.engine
    model._private.engine = Otherwise(engine, factor=1.1)
    with pytest.warns(UserWarning, match="differ, taken layer by layer"):
        use(model)
    assert isinstance(model._private.engine, Vectorized)
