"""Fashion-MNIST from files: whole, or refused by the name of a file."""

from pathlib import Path

import numpy as np
import pytest

from tests.data.conftest import idx_file
from tfdeep import data
from tfdeep.data import DataUnavailableError, idx, load, local

IMAGES = "train-images-idx3-ubyte.gz"
LABELS = "t10k-labels-idx1-ubyte.gz"
INSTALLED = idx.DEBIAN


def numbers(images):
    """The numbers of images in the files, which they begin with."""
    first = images[:, 0, :2, 0].astype(int)
    return first[:, 0] * 256 + first[:, 1]


def test_splits_are_disjoint_and_stratified(idx_folder):
    entry = data.info("fashion_mnist")
    splits = local.splits(entry, idx_folder)
    found = {}
    for split, size in (("train", 55_000), ("validation", 5000)):
        x, y = local.joined(splits, entry, [split])
        assert x.shape == (size, 28, 28, 1)
        np.testing.assert_array_equal(numbers(x) % 10, y)
        assert np.bincount(y).tolist() == [size // 10] * 10
        found[split] = numbers(x)
    both = np.concatenate(list(found.values()))
    assert len(set(both.tolist())) == 60_000
    x, _ = local.joined(splits, entry, ["train", "validation"])
    assert sorted(numbers(x).tolist()) == list(range(60_000))
    x, _ = local.joined(splits, entry, ["test"])
    assert sorted(numbers(x).tolist()) == list(range(10_000))
    # In the order of TFDS' own files of Fashion-MNIST.
    assert numbers(x)[:3].tolist() == [9933, 5669, 163]


def test_batches_are_standardised_and_augmented(idx_folder, monkeypatch):
    monkeypatch.setenv("TFDEEP_DATA_DIR", str(idx_folder.parent))
    with pytest.raises(DataUnavailableError):  # None of the names looked for.
        load("fashion_mnist", data_dir=idx_folder.parent / "x" / "\0")
    idx_folder.rename(idx_folder.with_name("fashion-mnist"))
    ds = load("fashion_mnist", "test", 64, augment=True)
    images, labels = next(iter(ds))
    assert images.shape == (64, 28, 28, 1) and labels.dtype == "int32"
    assert float(np.min(images)) == pytest.approx(-0.2860 / 0.3530, abs=1e-4)
    assert data.augmentation("fashion_mnist")[0].padding == 3


@pytest.mark.parametrize(
    "name, spoil, message",
    [
        (IMAGES, None, "is missing"),
        (LABELS, None, "is missing"),
        (IMAGES, lambda old: old[:1000], "is damaged"),
        (IMAGES, lambda old: b"", "does not begin as an array"),
        (LABELS, lambda old: b"no gzip", "is damaged"),
        (LABELS, lambda old: old[:50] + b"xx" + old[52:], "is damaged"),
        (LABELS, lambda old: idx_file(np.zeros(99, "uint8")), "(10000,)"),
        (
            LABELS,
            lambda old: idx_file(np.full(10_000, 10, "uint8")),
            "has a label 10",
        ),
    ],
)
def test_files_that_cannot_be_used_are_named(idx_folder, name, spoil, message):
    path = idx_folder / name
    old = path.read_bytes()
    path.unlink()
    if spoil:
        path.write_bytes(spoil(old))
    with pytest.raises(DataUnavailableError) as raised:
        load("fashion_mnist", data_dir=idx_folder)
    assert repr(str(path)) in str(raised.value)
    assert message in str(raised.value)


def test_a_body_that_is_short(tmp_path):
    path = tmp_path / "file.gz"
    path.write_bytes(idx_file(np.zeros(10, "uint8")))
    assert idx.array_of(path, (10,)).tolist() == [0] * 10
    import gzip

    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes())[:-1]))
    with pytest.raises(DataUnavailableError, match="has 9 of 10 bytes"):
        idx.array_of(path, (10,))


@pytest.mark.skipif(
    not Path(INSTALLED, IMAGES).is_file(),
    reason="dataset-fashion-mnist is not installed",
)
def test_the_real_images():
    x, y = load(
        "fashion_mnist",
        "train+validation",
        as_numpy=True,
        data_dir=INSTALLED,
    )
    assert abs(float(x.mean())) < 1e-3
    assert float(x.std()) == pytest.approx(1.0, abs=1e-3)
    assert np.bincount(y).tolist() == [6000] * 10
