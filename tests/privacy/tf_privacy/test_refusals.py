"""Training that only looks private fails, at the first step."""

import keras
import numpy as np
import pytest
from keras import ops

from tests.helpers import images
from tests.privacy.tf_privacy.made import (
    EVERY,
    KINDS,
    TREE,
    losses,
    made,
    weight,
)
from tfdeep.privacy import PrivateModel, tf_privacy

X, Y = images(8, 3), images(8, 1, seed=1)


def net():
    return keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])


def optimizer_for(name, model):
    return made(name, **({"var_list_or_model": model} if name == TREE else {}))


@pytest.mark.parametrize(
    "name, eager",
    [*((name, False) for name in EVERY), *((name, True) for name in KINDS)],
)
def test_an_ordinary_fit_is_refused(name, eager):
    model = net()
    before = [w.numpy() for w in model.weights]
    model.compile(optimizer_for(name, model), "mse", run_eagerly=eager)
    with pytest.raises(RuntimeError, match="not be private"):
        model.fit(X, Y, verbose=0)
    for old, new in zip(before, model.weights, strict=True):
        np.testing.assert_array_equal(old, new.numpy())


@pytest.mark.parametrize("name", KINDS)
def test_plain_gradients_are_refused_after_private_use(name):
    """When TF Privacy itself would apply whatever comes."""
    optimizer, w = made(name), weight()
    optimizer.apply_gradients(optimizer._compute_gradients(losses(w), [w]))
    with pytest.raises(RuntimeError, match="not be private"):
        optimizer.apply_gradients([(ops.ones(3), w)])
    with pytest.raises(RuntimeError, match="not be private"):
        optimizer.apply([ops.ones(3)], [w])


def test_the_same_model_is_refused_after_private_use():
    model = net()
    optimizer = made("DPKerasSGDOptimizer")
    variables = model.trainable_variables
    pairs = optimizer._compute_gradients(
        lambda: ops.sum((model(X) - Y) ** 2, axis=1), variables
    )
    optimizer.apply_gradients(pairs)
    model.compile(optimizer, "mse")
    with pytest.raises(RuntimeError, match="not be private"):
        model.fit(X, Y, verbose=0)


def test_the_model_inside_is_refused_after_a_private_fit():
    model = PrivateModel(net())
    model.compile(made("DPKerasSGDOptimizer"), "mse")
    model.fit(X, Y, verbose=0)
    model.base.compile(model.optimizer, "mse")
    with pytest.raises(RuntimeError, match="not be private"):
        model.base.fit(X, Y, verbose=0)


def test_a_replaced_train_step_is_refused():
    import tensorflow as tf

    class Own(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = keras.layers.Dense(1)

        def call(self, x):
            return self.dense(x)

        def train_step(self, data):
            x, y = data
            with tf.GradientTape() as tape:
                loss = ops.mean((self(x) - y) ** 2)
            grads = tape.gradient(loss, self.trainable_variables)
            self.optimizer.apply(grads, self.trainable_variables)
            return {"loss": loss}

    model = Own()
    model.compile(made("DPKerasAdamOptimizer"), "mse")
    with pytest.raises(RuntimeError, match="not be private"):
        model.fit(X, Y, verbose=0)


def test_a_mark_is_spent_by_one_update():
    optimizer, w = made("DPKerasSGDOptimizer"), weight()
    pairs = optimizer._compute_gradients(losses(w), [w])
    optimizer.apply_gradients(pairs)
    with pytest.raises(RuntimeError, match="not be private"):
        optimizer.apply_gradients(pairs)


def test_gradients_made_private_elsewhere_can_be_marked():
    optimizer, w = made("DPKerasSGDOptimizer", learning_rate=1.0), weight()
    gradients = [ops.ones(3)]
    optimizer.mark_private(gradients)
    optimizer.apply(gradients, [w])
    np.testing.assert_array_equal(w.numpy(), np.zeros(3))


def test_a_loss_scaled_optimizer_is_refused():
    optimizer, w = made("DPKerasSGDOptimizer"), weight()
    scaled = keras.optimizers.LossScaleOptimizer(optimizer)
    scaled.build([w])
    with pytest.raises(RuntimeError, match="not be private"):
        scaled.apply([ops.ones(3)], [w])


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("compiled", [False, True])
def test_a_scalar_loss_is_refused(name, compiled):
    import tensorflow as tf

    optimizer, w = made(name), weight()
    mean = lambda: ops.mean(losses(w)())  # noqa: E731

    def step():
        return optimizer._compute_gradients(mean, [w])[0][0]

    step = tf.function(step, autograph=False) if compiled else step
    with pytest.raises(ValueError, match=r"must be a tensor \(batch,\)"):
        step()


def test_a_scalar_loss_of_a_tape_is_refused():
    import tensorflow as tf

    optimizer, w = made("DPKerasSGDOptimizer"), weight()
    with tf.GradientTape() as tape:
        loss = ops.mean(losses(w)())
    with pytest.raises(ValueError, match=r"must be a tensor \(batch,\)"):
        optimizer._compute_gradients(loss, [w], tape=tape)


def test_a_loss_of_a_tape_works():
    import tensorflow as tf

    optimizer, w = made("DPKerasSGDOptimizer"), weight()
    with tf.GradientTape(persistent=True) as tape:
        loss = losses(w)()
    pairs = optimizer._compute_gradients(loss, [w], tape=tape)
    expected = optimizer._compute_gradients(losses(w), [w])
    np.testing.assert_allclose(pairs[0][0], expected[0][0], atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"clip": 0.0}, "Received: l2_norm_clip=0"),
        ({"clip": "1"}, "l2_norm_clip"),
        ({"noise": -1.0}, "noise_multiplier"),
        ({"noise": float("nan")}, "noise_multiplier"),
        ({"gradient_accumulation_steps": 0}, "gradient_accumulation_steps"),
    ],
)
def test_bad_arguments_are_refused(arguments, match):
    with pytest.raises(ValueError, match=match):
        made("DPKerasSGDOptimizer", **arguments)


def test_microbatches_of_several_examples_are_refused_by_private_models():
    optimizer = made("DPKerasSGDOptimizer", num_microbatches=4)
    optimizer.check_batch(4)
    for size, words in ((8, "of 8"), (None, "no plan names")):
        with pytest.raises(ValueError, match=f"num_microbatches.*{words}"):
            optimizer.check_batch(size)
    model = PrivateModel(net())
    with pytest.raises(ValueError, match="num_microbatches"):
        model.compile(optimizer, "mse")


def test_two_mechanisms_are_refused():
    query = tf_privacy.GaussianSumQuery(1.0, 2.0)
    mechanism = tf_privacy.QueryMechanism(query)
    model = PrivateModel(net(), mechanism=mechanism)
    with pytest.raises(ValueError, match="only one of them"):
        model.compile(made("DPKerasSGDOptimizer", noise=1.0), "mse")


def test_a_class_that_makes_no_optimizers_is_refused():
    with pytest.raises(TypeError, match="class of Keras optimizers"):
        tf_privacy.make_keras_optimizer_class(keras.layers.Dense)
