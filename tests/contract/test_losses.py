"""What every loss passes.

settings    the configuration is JSON, holds every argument, and makes the
            same loss again; a compiled model is saved and loaded with it
values      one value per sample; weights and reductions as in Keras;
            classes as numbers and as one-hot rows give the same
training    in `fit`, eager, as a graph and by XLA: a finite loss, which
            falls
precision   half precision in, finite out
masked      what the mask of the scores leaves out does not count
"""

import inspect
import json

import keras
import numpy as np
import pytest
from keras import ops

import tfdeep
from tests.contract.exports import exports_of
from tests.contract.harness import BACKEND
from tfdeep.training import L2SVM

LOSSES = {
    "MarginLoss": (
        lambda **kwargs: tfdeep.losses.MarginLoss(0.8, 0.2, 0.3, **kwargs)
    ),
    "L2SVM": lambda **kwargs: L2SVM(**kwargs),
}
each_loss = pytest.mark.parametrize("name", LOSSES)
RANDOM = np.random.default_rng(0)
LABELS = np.array([0, 2, 1, 2])
SCORES = RANDOM.uniform(0, 1, (4, 3)).astype("float32")
MODES = {"eager": {"run_eagerly": True, "jit_compile": False}}
MODES["graph"], MODES["xla"] = {"jit_compile": False}, {"jit_compile": True}
if BACKEND == "jax":
    MODES = {"xla": {"jit_compile": True}}


def test_every_loss_has_a_case():
    names = {name.rpartition(".")[2] for name in exports_of("loss")}
    assert names == set(LOSSES)


@each_loss
def test_settings(name):
    loss = LOSSES[name](reduction="sum", name="mine")
    data = json.loads(json.dumps(keras.losses.serialize(loss)))
    twin = keras.losses.deserialize(data)
    assert type(twin) is type(loss) and twin.name == "mine"
    assert twin.get_config() == loss.get_config()
    arguments = inspect.signature(type(loss)).parameters
    assert set(arguments) - {"kwargs", "dtype"} <= set(loss.get_config())
    np.testing.assert_array_equal(
        np.array(twin(LABELS, SCORES)), np.array(loss(LABELS, SCORES))
    )


@each_loss
def test_values(name):
    each = np.array(LOSSES[name](reduction=None)(LABELS, SCORES))
    assert each.shape == (4,) and len(set(each.tolist())) == 4
    one_hot = np.eye(3, dtype="float32")[LABELS]
    for labels in (one_hot, LABELS[:, None]):
        again = np.array(LOSSES[name](reduction=None)(labels, SCORES))
        np.testing.assert_allclose(again, each, 1e-6)
    weights = np.array([1.0, 0.0, 2.0, 0.5], "float32")
    for reduction, expected in {
        "sum": np.sum(weights * each),
        "sum_over_batch_size": np.mean(weights * each),
        "mean_with_sample_weight": np.sum(weights * each) / np.sum(weights),
    }.items():
        loss = LOSSES[name](reduction=reduction)
        actual = float(loss(LABELS, SCORES, sample_weight=weights))
        assert actual == pytest.approx(float(expected), rel=1e-5)


@each_loss
@pytest.mark.parametrize("mode", MODES)
def test_training(name, mode, tmp_path):
    start = keras.initializers.GlorotUniform(0)
    model = keras.Sequential(
        [keras.Input((3,)), keras.layers.Dense(3, kernel_initializer=start)]
    )
    model.compile(keras.optimizers.SGD(0.1), LOSSES[name](), **MODES[mode])
    fit = {"epochs": 3, "verbose": 0, "shuffle": False}
    losses = model.fit(SCORES, LABELS, **fit).history["loss"]
    assert losses[2] < losses[1] < losses[0] < np.inf
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.evaluate(SCORES, LABELS, verbose=0) == pytest.approx(
        model.evaluate(SCORES, LABELS, verbose=0), rel=1e-6
    )


@each_loss
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision(name, dtype):
    scores = ops.cast(SCORES, dtype)
    expected = float(LOSSES[name]()(LABELS, SCORES))
    assert float(LOSSES[name]()(LABELS, scores)) == pytest.approx(
        expected, rel=0.02
    )


@each_loss
def test_masked(name):
    each = np.array(LOSSES[name](reduction=None)(LABELS, SCORES))
    scores = ops.convert_to_tensor(SCORES)
    kept = np.array([True, False, True, True])
    try:
        scores._keras_mask = ops.convert_to_tensor(kept)
    except AttributeError:
        pytest.skip("arrays of JAX hold no mask; Keras hands them over inside")
    # Keras scales by the share that is kept, so that the mean is over these.
    actual = float(LOSSES[name]()(LABELS, scores))
    assert actual == pytest.approx(float(each[kept].mean()), rel=1e-5)
