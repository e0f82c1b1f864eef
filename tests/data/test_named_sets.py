"""The sets TFDS downloads: its own builders and features, made-up examples."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from tfdeep.data import info, load, names, prepare, standardization
from tfdeep.data.reading import examples

CUT = [name for name in names() if info(name).held_out]
STARTS = {"train": 0, "test": 10_000, "extra": 20_000}


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    monkeypatch.setattr(prepare, "check_reachable", lambda *args: None)
    monkeypatch.setattr(prepare, "_check_files", lambda made: None)


def numbered(self, split, **kwargs):
    """100 examples, 10 of each class; the first pixels tell which one."""
    del kwargs
    shape = self.info.features["image"].shape
    zeros = tf.zeros(np.prod(shape) - 2, "int64")

    def example(i):
        pixels = tf.concat([[i // 256, i % 256], zeros], axis=0)
        image = tf.reshape(tf.cast(pixels, "uint8"), shape)
        return {"image": image, "label": i % 10}

    start = STARTS[split]
    return tf.data.Dataset.range(start, start + 100).map(example)


def ids(built, entry, *wanted):
    rows = examples(built, entry, list(wanted)).as_numpy_iterator()
    heads = [row["image"].ravel()[:2].astype(int) for row in rows]
    return [int(256 * high + low) for high, low in heads]


@pytest.mark.parametrize("name", CUT)
def test_validation_is_a_stratified_part_of_train(name, tmp_path):
    entry = dataclasses.replace(info(name), held_out=20)
    with tfds.testing.mock_data(as_dataset_fn=numbered):
        built = prepare.builder(entry, str(tmp_path))
        train = ids(built, entry, "train")
        held = ids(built, entry, "validation")
        assert (len(train), len(held)) == (80, 20)
        assert sorted(train + held) == list(range(100))
        assert np.bincount(np.array(held) % 10).tolist() == [2] * 10
        assert ids(built, entry, "train", "validation") == list(range(100))
        assert ids(built, entry, "validation") == held
        assert ids(built, entry, "test")[0] == STARTS["test"]


def test_svhn_joins_the_extra_images(tmp_path):
    entry = dataclasses.replace(info("svhn_cropped"), held_out=20)
    with tfds.testing.mock_data(as_dataset_fn=numbered):
        built = prepare.builder(entry, str(tmp_path))
        found = ids(built, entry, "train", "extra")
        assert (len(found), max(found)) == (180, STARTS["extra"] + 99)


@pytest.mark.parametrize(
    "name, augment", [("cifar10", False), *((name, True) for name in CUT)]
)
def test_batches_have_the_named_shape(name, augment, tmp_path):
    with tfds.testing.mock_data(num_examples=10):
        ds = load(name, "test", 4, augment=augment, data_dir=str(tmp_path))
        batches = list(ds.as_numpy_iterator())
    assert [x.shape[0] for x, _ in batches] == [4, 4, 2]
    for x, y in batches:
        assert x.shape[1:] == info(name).shape
        assert (x.dtype, y.dtype) == ("float32", "int32")
        assert (y < info(name).classes).all()


def test_each_channel_has_its_own_statistics(tmp_path):
    options = {"split": "test", "data_dir": str(tmp_path)}
    with tfds.testing.mock_data(num_examples=4):
        raw = next(
            load("cifar10", standardize=False, **options).as_numpy_iterator()
        )
        x = next(load("cifar10", **options).as_numpy_iterator())
    assert 0.0 <= raw[0].min() < raw[0].max() <= 1.0
    mean, std = (
        np.array(v) for v in (info("cifar10").mean, info("cifar10").std)
    )
    np.testing.assert_allclose(x[0], (raw[0] - mean) / std, atol=1e-5)


@pytest.mark.parametrize("name", names())
def test_info_is_that_of_tfds(name, tmp_path):
    entry = info(name)
    assert len(entry.mean) == len(entry.std) == entry.shape[-1]
    assert all(
        0 < m < 1 and 0 < s < 0.5
        for m, s in zip(entry.mean, entry.std, strict=True)
    )
    if entry.offline:
        return
    features = tfds.builder(name, data_dir=str(tmp_path)).info.features
    assert features["label"].num_classes == entry.classes
    if entry.small:
        assert features["image"].shape == entry.shape


@pytest.mark.parametrize("augment", [False, True])
def test_imagenet_is_cropped_and_repeatable(augment, tmp_path):
    options = {"augment": augment, "data_dir": str(tmp_path), "batch_size": 2}
    with tfds.testing.mock_data(num_examples=4):
        runs = [
            list(load("imagenet2012", seed=2, **options).as_numpy_iterator())
            for _ in range(2)
        ]
    assert [x.shape for x, _ in runs[0]] == [(2, 224, 224, 3)] * 2
    for (x, y), (x2, y2) in zip(*runs, strict=True):
        np.testing.assert_array_equal(x, x2)
        np.testing.assert_array_equal(y, y2)


def test_standardization_maps_the_mean_to_0_and_one_std_to_1():
    entry = info("cifar100")
    layer = standardization("cifar100")
    images = np.stack([entry.mean, np.add(entry.mean, entry.std)])
    images = np.broadcast_to(images[:, None, None], (2, 32, 32, 3))
    y = np.asarray(layer(images.astype("float32")))
    np.testing.assert_allclose(y[0], 0.0, atol=1e-6)
    np.testing.assert_allclose(y[1], 1.0, atol=1e-6)
