"""How recipes train, and what they measure of it."""

import keras
import numpy as np
import pytest

from tfdeep.recipes import recipes, training
from tfdeep.recipes.context import Context, Run
from tfdeep.recipes.dropout import sampled_error
from tfdeep.recipes.stopping import StepsToAccuracy, StopAfter


def test_stop_after_ends_training():
    model = keras.Sequential([keras.layers.Dense(1)])
    model.compile("sgd", "mse", run_eagerly=True)
    stop = StopAfter(0.0)
    x, y = np.ones((64, 2)), np.ones((64, 1))
    model.fit(x, y, batch_size=16, epochs=3, verbose=0, callbacks=[stop])
    assert stop.epochs == pytest.approx(0.25)


@pytest.mark.parametrize("accuracy, expected", [(0.0, 2), (1.1, 12)])
def test_steps_to_accuracy(accuracy, expected):
    model = keras.Sequential([keras.layers.Dense(2, "softmax")])
    model.compile("sgd", "sparse_categorical_crossentropy", run_eagerly=True)
    x, y = np.ones((64, 2), "float32"), np.zeros(64, "int32")
    steps = StepsToAccuracy((x, y), accuracy, every=2)
    model.fit(x, y, batch_size=16, epochs=3, verbose=0, callbacks=[steps])
    assert steps.steps == expected and steps.reached is (accuracy == 0.0)


def test_learning_rate_falls_at_the_fractions(few_images):
    context = Context(recipes()["residual"])
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(10)])
    training.compiled(
        context, model, epochs=8, learning_rate=1.0, drops=(0.25, 0.75)
    )
    assert training.steps_per_epoch(context) == 1
    rates = []
    for step in range(9):
        model.optimizer.iterations.assign(step)
        rates.append(float(np.array(model.optimizer.learning_rate)))
    assert rates == pytest.approx([1.0] * 3 + [0.1] * 4 + [0.01] * 2)


def test_errors_and_losses_are_those_of_the_trained_model(few_images, eager):
    context = Context(recipes()["residual"])
    context.settings.epochs = 2
    layers = [keras.layers.Flatten(), keras.layers.Dense(10, "softmax")]
    model = training.compiled(context, keras.Sequential(layers))
    training.train(Run(context, "arm", 0, model), batch_size=32)

    found = context.results.entry("arm", 0)
    for split, (x, y) in {
        "train": training.train_arrays(context),
        "test": training.test_arrays(context),
    }.items():
        scores = keras.ops.convert_to_numpy(model(x))
        wrong = np.mean(scores.argmax(-1) != y)
        assert found.metrics[f"{split}_error"] == pytest.approx(wrong)
        loss = -np.log(scores[np.arange(len(y)), y]).mean()
        assert found.metrics[f"{split}_loss"] == pytest.approx(loss, rel=1e-4)
    assert found.metrics["parameters"] == 65 * 10
    assert found.metrics["epoch_cpu_seconds"] > 0
    assert len(found.history["val_accuracy"]) == 2


def test_sampled_error_is_that_of_the_mean_of_thinned_nets():
    answers = iter([[[0.6, 0.4], [0.9, 0.1]], [[0.1, 0.9], [0.4, 0.6]]])

    def model(images, training):
        assert training
        return np.array(next(answers))

    assert sampled_error(model, None, np.array([1, 1]), samples=2) == 0.5
