"""The data sets known by name: shapes, statistics, splits, augmentation."""

from dataclasses import dataclass

from tfdeep.checks import check_choice


@dataclass(frozen=True)
class DataInfo:
    """What is known of a data set before anything is read.

    Args:
        name: string, the name `load` takes, which is TFDS' name as well.
        shape: tuple, height, width and channels of the images `load` gives.
        classes: integer, the number of classes.
        mean: tuple, the mean of each channel of the training images in
            [0, 1].
        std: tuple, their standard deviation, over pixels and images.
        splits: tuple of strings, the splits `load` takes. They are disjoint;
            "+" joins them, as in "train+validation".
        offline: boolean, whether the set comes with an installed package and
            needs no network.
        padding: integer, the padding of the random crop of `augment=True`.
        flip: boolean, whether `augment=True` mirrors images.
        held_out: integer, how many images of TFDS' "train" make the split
            "validation". 0 where TFDS has the splits already.
        address: string, where TFDS downloads from.
        small: boolean, whether the decoded set fits into memory.
    """

    name: str
    shape: tuple[int, int, int]
    classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    splits: tuple[str, ...] = ("train", "validation", "test")
    offline: bool = False
    padding: int = 4
    flip: bool = False
    held_out: int = 0
    address: str = ""
    small: bool = True


# Statistics. digits, mnist5k: computed over the split "train". CIFAR: those of
# the authors' ResNeXt, DenseNet and WRN code, which are given in [0, 255].
# ImageNet: those of every published ResNet. MNIST, Fashion-MNIST and SVHN: over
# TFDS' "train", as in common use.
# Padding of the digit sets: the papers' 4 of 32 pixels, in proportion.
_SETS = (
    DataInfo(
        "digits",
        (8, 8, 1),
        10,
        mean=(0.30547898,),
        std=(0.37592199,),
        offline=True,
        padding=1,
    ),
    DataInfo(
        "mnist5k",
        (28, 28, 1),
        10,
        mean=(0.13116445,),
        std=(0.30842818,),
        offline=True,
        padding=3,
    ),
    DataInfo(
        "mnist",
        (28, 28, 1),
        10,
        mean=(0.1307,),
        std=(0.3081,),
        padding=3,
        held_out=5000,
        address="https://storage.googleapis.com/cvdf-datasets/mnist/",
    ),
    DataInfo(
        "fashion_mnist",
        (28, 28, 1),
        10,
        mean=(0.2860,),
        std=(0.3530,),
        padding=3,
        flip=True,
        held_out=5000,
        address="http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    ),
    DataInfo(
        "svhn_cropped",
        (32, 32, 3),
        10,
        mean=(0.4377, 0.4438, 0.4728),
        std=(0.1980, 0.2010, 0.1970),
        splits=("train", "validation", "test", "extra"),
        held_out=6000,
        address="http://ufldl.stanford.edu/housenumbers/",
    ),
    DataInfo(
        "cifar10",
        (32, 32, 3),
        10,
        mean=(125.3 / 255, 123.0 / 255, 113.9 / 255),
        std=(63.0 / 255, 62.1 / 255, 66.7 / 255),
        flip=True,
        held_out=5000,
        address="https://www.cs.toronto.edu/~kriz/",
    ),
    DataInfo(
        "cifar100",
        (32, 32, 3),
        100,
        mean=(129.3 / 255, 124.1 / 255, 112.4 / 255),
        std=(68.2 / 255, 65.4 / 255, 70.4 / 255),
        flip=True,
        held_out=5000,
        address="https://www.cs.toronto.edu/~kriz/",
    ),
    # TFDS' "test" has no labels; the papers report on "validation".
    DataInfo(
        "imagenet2012",
        (224, 224, 3),
        1000,
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
        splits=("train", "validation"),
        flip=True,
        padding=0,
        small=False,
    ),
)
_BY_NAME = {entry.name: entry for entry in _SETS}


def names(offline: bool = False) -> list[str]:
    """The names `load` takes.

    Args:
        offline: boolean, only the sets that need no network.

    Returns:
        List of strings.

    Example:
        >>> import tfdeep.data
        >>> tfdeep.data.names(offline=True)
        ['digits', 'mnist5k']
    """
    return [entry.name for entry in _SETS if entry.offline or not offline]


def info(name: str) -> DataInfo:
    """What is known of the set `name`, without reading it.

    Args:
        name: string, one of `names()`.

    Returns:
        A `DataInfo`.

    Raises:
        ValueError: if there is no set of this name.

    Example:
        >>> import tfdeep.data
        >>> cifar = tfdeep.data.info("cifar10")
        >>> cifar.shape, cifar.classes, cifar.splits
        ((32, 32, 3), 10, ('train', 'validation', 'test'))
    """
    check_choice("name", name, _BY_NAME)
    return _BY_NAME[name]


def parts(entry: DataInfo, split: str) -> list[str]:
    """The splits that `split` joins, each checked to exist once."""
    found = [part.strip() for part in str(split).split("+")]
    for part in found:
        check_choice("split", part, entry.splits)
    if len(set(found)) < len(found):
        raise ValueError(
            f"`split` must name each split once. Received: split={split!r}. "
            "Leave the repeated one out."
        )
    return found
