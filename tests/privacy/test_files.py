"""What files hold of private training, and what they do not."""

import pickle

import keras
import numpy as np
import pytest
from keras import layers

from tests.helpers import arrays, close
from tfdeep.privacy import GaussianMechanism, NotPrivateError, TreeAggregation


def accumulating(private, budget, **arguments):
    return private(
        plan=budget(**arguments),
        optimizer=keras.optimizers.SGD(1.0, gradient_accumulation_steps=4),
    )


def test_sums_without_noise_are_in_no_file(private, budget, data, tmp_path):
    """They wait in the model, for nobody to see."""
    model = accumulating(private, budget, batch_size=32, noise_multiplier=0.0)
    for index in range(3):
        rows = slice(8 * index, 8 * index + 8)
        model.train_on_batch(data[0][rows], data[1][rows])
    waiting = arrays(model.memory.window)
    assert all(np.any(each) for each in waiting)
    accumulated = model.optimizer.variables[2:]
    assert len(accumulated) >= len(waiting)
    assert not any(np.any(each) for each in arrays(accumulated))
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    pickled = pickle.loads(pickle.dumps(model))
    model.save_weights(tmp_path / "it.weights.h5")
    other = accumulating(private, budget, batch_size=32)
    other.optimizer.build(other.trainable_variables)
    other.load_weights(tmp_path / "it.weights.h5")
    for each in (loaded, pickled, other):
        assert not any(np.any(v) for v in arrays(each.memory.window))
        assert each.count_of_updates() == 0
    shapes = [v.shape for v in model.memory.window]
    held = [v.path for v in model.weights if "waiting" in v.path]
    assert shapes and not held


@pytest.mark.tensorflow
def test_a_checkpoint_of_tensorflow_holds_no_sums(
    private, budget, data, tmp_path
):
    import tensorflow as tf

    model = accumulating(private, budget, batch_size=32)
    model.train_on_batch(data[0][:8], data[1][:8])
    path = tf.train.Checkpoint(model=model).save(str(tmp_path / "it"))
    names = [name for name, _ in tf.train.list_variables(path)]
    assert names and not any("waiting" in name for name in names)
    values = [tf.train.load_variable(path, name) for name in names]
    for sums in arrays(model.memory.window):
        assert not any(
            np.shape(value) == sums.shape and np.allclose(value, sums)
            for value in values
        )


def test_noise_of_a_tree_is_in_no_file(private, data, tmp_path):
    """With it, the noise of what was released comes off again."""
    tree = TreeAggregation(1.0, 64)
    model = private(mechanism=tree, seed=3)
    batches = [tuple(each[i : i + 8] for each in data) for i in (0, 8, 16, 24)]
    for batch in batches[:2]:
        model.train_on_batch(*batch)
    nodes = [v for v in arrays(model.mechanism_state) if v.ndim]
    assert all(np.any(each) for each in nodes)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert not any(np.any(v) for v in arrays(loaded.mechanism_state))
    with pytest.raises(NotPrivateError, match="load_resumable"):
        loaded.train_on_batch(*batches[2])
    model.save_resumable(tmp_path / "run.secret.npz")
    loaded.load_resumable(tmp_path / "run.secret.npz")
    for each in (model, loaded):
        for batch in batches[2:]:
            each.train_on_batch(*batch)
        assert each.count_of_updates() == 4
    close(loaded.base.get_weights(), model.base.get_weights())


def test_a_resumable_file_says_what_it_is(private, data, tmp_path):
    model = private(mechanism=GaussianMechanism(1.0))
    with pytest.raises(ValueError, match="secret"):
        model.save_resumable(tmp_path / "run.npz")
    model.save_resumable(tmp_path / "run.secret.npz")
    with np.load(tmp_path / "run.secret.npz") as file:
        assert "SECRET" in str(file["WARNING"])
        stream = model.noise_generator.state.numpy()
        for name in file.files:
            assert not np.array_equal(file[name], stream)
    with pytest.raises(ValueError, match="no file"):
        model.load_resumable(tmp_path / "other.secret.npz")
    other = private(layers.Dense(4), mechanism=GaussianMechanism(1.0))
    before = other.base.get_weights()
    with pytest.raises(ValueError, match="other variables"):
        other.load_resumable(tmp_path / "run.secret.npz")
    close(other.base.get_weights(), before, 0, 0)


def test_export_is_of_the_base(private, budget, data, tmp_path):
    pytest.importorskip("tensorflow")
    import tensorflow as tf

    model = accumulating(private, budget, batch_size=32)
    model.train_on_batch(data[0][:8], data[1][:8])
    model.export(tmp_path / "it", verbose=False)
    served = tf.saved_model.load(str(tmp_path / "it"))
    expected = model.base.predict(data[0], verbose=0)
    np.testing.assert_allclose(served.serve(data[0]), expected, 1e-5, 1e-5)
    held = [v.shape for v in served.variables]
    assert len(held) == len(model.base.weights)
