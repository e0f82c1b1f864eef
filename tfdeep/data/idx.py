"""Fashion-MNIST from its four gzipped IDX files, as Debian packages it.

`apt-get install dataset-fashion-mnist` puts them into one folder.

Reference:
    Xiao, Rasul, Vollgraf, "Fashion-MNIST: a Novel Image Dataset for
    Benchmarking Machine Learning Algorithms", 2017. The format: LeCun,
    Cortes, Burges, "The MNIST database of handwritten digits".
"""

import gzip
import math
import os
import zlib
from pathlib import Path

import numpy as np

from tfdeep.data.prepare import DataUnavailableError

DEBIAN = Path("/usr/share/datasets/fashion-mnist")
# By split: the prefix of its two files, and the number of its images.
SPLITS = {"train": ("train", 60_000), "test": ("t10k", 10_000)}
SIZE, CLASSES = 28, 10


def names_of(prefix: str) -> tuple[str, str]:
    """The names of the file of images and of that of labels."""
    return f"{prefix}-images-idx3-ubyte.gz", f"{prefix}-labels-idx1-ubyte.gz"


NAMES = [name for prefix, _ in SPLITS.values() for name in names_of(prefix)]


def folder_of(data_dir: str | os.PathLike | None) -> Path | None:
    """The folder that holds any of the files, `None` if there is none.

    Looked for are `data_dir`, its folders "fashion-mnist" and "fashion_mnist",
    and where Debian's package lies.
    """
    places = [DEBIAN]
    if data_dir is not None:
        below = [
            Path(data_dir, name) for name in ("fashion-mnist", "fashion_mnist")
        ]
        places = [Path(data_dir), *below, DEBIAN]
    for place in places:
        if any((place / name).is_file() for name in NAMES):
            return place
    return None


def read(folder: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Read the four files.

    Args:
        folder: where they are.

    Returns:
        By split, "train" and "test", uint8 images `(n, 28, 28, 1)` and labels.

    Raises:
        DataUnavailableError: if a file is missing, short or damaged.
    """
    found = {}
    for split, (prefix, count) in SPLITS.items():
        for_images, for_labels = names_of(prefix)
        images = array_of(folder / for_images, (count, SIZE, SIZE))
        labels = array_of(folder / for_labels, (count,))
        if labels.max() >= CLASSES:
            raise refused(folder / for_labels, f"has a label {labels.max()}")
        found[split] = images[..., None], labels
    return found


def array_of(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """The array in an IDX file: 0 0 8 rank, the sizes, and the bytes.

    Raises:
        DataUnavailableError: if it does not hold an array of this shape.
    """
    try:
        content = gzip.decompress(path.read_bytes())
    except FileNotFoundError as error:
        raise refused(path, "is missing") from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise refused(path, f"is damaged ({error})") from error
    except OSError as error:
        raise refused(path, f"cannot be read ({error.strerror})") from error
    head = bytes([0, 0, 8, len(shape)])
    head += b"".join(size.to_bytes(4, "big") for size in shape)
    if content[: len(head)] != head:
        raise refused(path, f"does not begin as an array of {shape}")
    body = content[len(head) :]
    if len(body) != math.prod(shape):
        raise refused(path, f"has {len(body)} of {math.prod(shape)} bytes")
    return np.frombuffer(body, "uint8").reshape(shape)


def refused(path: Path, what: str) -> DataUnavailableError:
    """The error for a file that cannot be used."""
    return DataUnavailableError(
        f"The file {str(path)!r} {what}. Fashion-MNIST needs all four files as "
        "they were published. Install them again (Debian: apt-get install "
        "--reinstall dataset-fashion-mnist), or name another folder as "
        "`data_dir`."
    )
