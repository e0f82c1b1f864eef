"""From a name to batches: arrays at hand, or TensorFlow Datasets."""

import functools
import os

import keras
import numpy as np

from tfdeep.checks import check_boolean, check_positive, check_seed
from tfdeep.data import local, prepare
from tfdeep.data.augmentation import RandomPadCrop
from tfdeep.data.registry import DataInfo, info, parts

# More than any small set holds, so that the whole of it is shuffled.
SMALL_BUFFER = 100_000
# Encoded ImageNet images to shuffle among, about 0.5 GB; the files they come
# from are shuffled as well.
ENCODED_BUFFER = 5000


def standardization(name: str) -> keras.layers.Normalization:
    """The layer (x - mean) / std with the statistics of the set `name`.

    For images in [0, 1], inside a model or `tf.data`.

    Args:
        name: string, one of `names()`.

    Returns:
        A built `keras.layers.Normalization`.

    Example:
        >>> import numpy as np, tfdeep.data
        >>> layer = tfdeep.data.standardization("imagenet2012")
        >>> image = np.full((1, 2, 2, 3), (0.485, 0.456, 0.406), "float32")
        >>> float(abs(np.asarray(layer(image))).max())
        0.0
    """
    entry = info(name)
    variance = np.square(entry.std).tolist()
    layer = keras.layers.Normalization(
        mean=list(entry.mean), variance=variance, dtype="float32"
    )
    layer.build((None, *entry.shape))
    return layer


def augmentation(
    name: str, mode: str = "constant", seed: int | None = None
) -> list:
    """The layers of `augment=True` for the set `name`.

    CIFAR and SVHN get the papers' crop of 4 padded pixels; the digit sets
    the same in proportion to their size. Horizontal flips are for CIFAR,
    ImageNet and Fashion-MNIST: a mirrored digit is no digit, or another.

    Args:
        name: string, one of `names()`.
        mode: "constant" or "reflect", how the crop pads.
        seed: optional integer, the start of the random streams.

    Returns:
        List of Keras layers, for batches.

    Example:
        >>> import tfdeep.data
        >>> [type(x).__name__ for x in tfdeep.data.augmentation("cifar10")]
        ['RandomPadCrop', 'RandomFlip']
        >>> tfdeep.data.augmentation("digits")[0].padding
        1
    """
    entry = info(name)
    layers: list = []
    if entry.padding:
        crop = RandomPadCrop(
            entry.padding, mode, seed=seed, data_format="channels_last"
        )
        layers.append(crop)
    if entry.flip:
        flip_seed = None if seed is None else seed + 1
        flip = keras.layers.RandomFlip(
            "horizontal", seed=flip_seed, data_format="channels_last"
        )
        layers.append(flip)
    return layers


def load(
    name: str,
    split: str = "train",
    batch_size: int = 32,
    *,
    shuffle: bool | None = None,
    seed: int | None = 0,
    augment: bool | list = False,
    standardize: bool = True,
    as_numpy: bool = False,
    drop_remainder: bool = False,
    data_dir: str | os.PathLike | None = None,
):
    """Read a data set as batches of standardised images and labels.

    "digits" and "mnist5k" come with installed packages, and "fashion_mnist"
    with Debian's `dataset-fashion-mnist` or in four files of one's own: they
    need no network. The first use of another set, or of Fashion-MNIST without
    these files, prepares it in TFDS' directory. The splits of a set are
    disjoint, stratified where they are cut here, and never depend on `seed`;
    "+" joins them, as in "train+validation", the whole of CIFAR's training
    images.

    Args:
        name: string, one of `names()`.
        split: string, one of `info(name).splits`, or several joined by "+".
        batch_size: positive integer.
        shuffle: boolean, whether to shuffle, anew in each epoch. By default
            where the split has "train" in it, but not for `as_numpy`.
        seed: integer from 0 or `None`, for shuffling and augmentation. Equal
            seeds give equal runs, on every backend, where
            `keras.utils.set_random_seed` had the same as well; with `None`
            runs differ.
        augment: boolean or list of Keras layers to call on each standardised
            batch. True means `augmentation(name, seed=seed)`, and for
            "imagenet2012" a random resized crop as well.
        standardize: boolean, whether to subtract the set's mean and divide
            by its standard deviation, per channel. Else images are in [0, 1].
        as_numpy: boolean, whether to return the whole split as two arrays;
            `batch_size` and `drop_remainder` then play no part.
        drop_remainder: boolean, whether to drop a last, smaller batch.
        data_dir: optional path, where the files of Fashion-MNIST are looked
            for first, and TFDS' directory. By default the variable
            TFDEEP_DATA_DIR, else TFDS' own: the variable TFDS_DATA_DIR, or
            `~/tensorflow_datasets`.

    Returns:
        A `tf.data.Dataset` of `(images, labels)`, float32 `(batch, height,
        width, channels)` and int32 `(batch,)`; or these two as NumPy arrays.

    Raises:
        TypeError: if `augment` or `data_dir` is of another kind.
        ValueError: if an argument is none of its values.
        DataUnavailableError: if the set cannot be had, or its files are
            missing, cut or damaged.
        ImportError: if a package is missing: of the extra `datasets` for
            "digits" and "mnist5k", of `tfds` for what TFDS reads, or
            TensorFlow, without which `as_numpy` has to be set.

    Example:
        >>> import tfdeep.data
        >>> train = tfdeep.data.load("digits", "train", batch_size=64)
        >>> images, labels = next(iter(train))
        >>> tuple(images.shape), tuple(labels.shape)
        ((64, 8, 8, 1), (64,))
        >>> x, y = tfdeep.data.load("digits", "test", as_numpy=True)
        >>> x.shape, y.dtype.name
        ((360, 8, 8, 1), 'int32')
    """
    entry = info(name)
    wanted = parts(entry, split)
    check_positive("batch_size", batch_size)
    check_seed(seed)
    options = {
        "standardize": standardize,
        "as_numpy": as_numpy,
        "drop_remainder": drop_remainder,
    }
    for option, value in options.items():
        check_boolean(option, value)
    if shuffle is not None:
        check_boolean("shuffle", shuffle)
    layers = _layers(name, augment, seed)
    if as_numpy:
        _check_numpy(entry, layers)
    if shuffle is None:
        shuffle = "train" in wanted and not as_numpy
    folder = _folder(data_dir)
    found = _at_hand(entry, folder)
    if found is not None:
        arrays = _floats(
            entry, standardize, *local.joined(found, entry, wanted)
        )
        if as_numpy:
            return _ordered(arrays, shuffle, seed)
        ds = _dataset(arrays)
        if shuffle:
            ds = ds.shuffle(len(arrays[1]), seed=seed)
        ds = ds.batch(batch_size, drop_remainder=drop_remainder)
    else:
        built = prepare.builder(entry, folder)
        try:
            ds = _images(built, entry, wanted, shuffle, seed)
            if not entry.small:
                ds = _crops(ds, entry, random=augment is True, seed=seed)
            drop = drop_remainder and not as_numpy
            ds = ds.batch(batch_size, drop_remainder=drop)
            ds = ds.map(functools.partial(_floats, entry, standardize))
            if as_numpy:
                return _arrays(ds)
        except Exception as error:  # A record that was damaged.
            raise prepare.unavailable(entry, error) from error
    for layer in layers:
        ds = ds.map(functools.partial(_augmented, layer))
    return ds.prefetch(2)


def _folder(data_dir) -> str | None:
    if data_dir is None:
        return os.environ.get("TFDEEP_DATA_DIR")
    if not isinstance(data_dir, str | os.PathLike):
        raise TypeError(
            "`data_dir` must be the path of a folder. Received: "
            f"{data_dir!r}. Pass a string or a pathlib.Path."
        )
    return os.fspath(data_dir)


def _at_hand(entry: DataInfo, folder: str | None) -> local.Splits | None:
    try:
        return local.splits(entry, folder)
    except ImportError as error:
        raise prepare.missing_package(error, entry) from error


def _dataset(arrays):
    try:
        import tensorflow as tf
    except ImportError as error:
        raise prepare.missing_tensorflow(error) from error
    return tf.data.Dataset.from_tensor_slices(arrays)


def _ordered(arrays, shuffle: bool, seed: int | None):
    if not shuffle:
        return arrays
    order = np.random.default_rng(seed).permutation(len(arrays[1]))
    return tuple(array[order] for array in arrays)


def _layers(name, augment, seed):
    if isinstance(augment, bool):
        return augmentation(name, seed=seed) if augment else []
    if not isinstance(augment, list | tuple) or not all(map(callable, augment)):
        raise TypeError(
            "`augment` must be True, False or a list of layers. Received: "
            f"{augment!r}. Pass for example tfdeep.data.augmentation("
            f"{name!r})."
        )
    return list(augment)


def _check_numpy(entry: DataInfo, layers) -> None:
    if layers:
        raise ValueError(
            "`augment` must be False with as_numpy=True: arrays are drawn "
            "once, while augmentation must differ in each epoch. Received: "
            "both. Put the layers of `tfdeep.data.augmentation` into the "
            "model."
        )
    if not entry.small:
        raise ValueError(
            "`as_numpy` must be False for a data set that may not fit into "
            f"memory as a whole. Received: as_numpy=True for {entry.name!r}. "
            "Iterate over batches with `load(...).as_numpy_iterator()`."
        )


def _images(built, entry, wanted, shuffle, seed):
    """Pairs (image, label) of single examples, as stored or shuffled."""
    from tfdeep.data.reading import examples

    shuffle_files = shuffle and not entry.small
    ds = examples(built, entry, wanted, shuffle_files, seed)
    ds = ds.map(lambda example: (example["image"], example["label"]))
    if entry.small and "extra" not in wanted:
        ds = ds.cache()
    if not shuffle:
        return ds
    buffer = SMALL_BUFFER if entry.small else ENCODED_BUFFER
    return ds.shuffle(buffer, seed=seed)


def _crops(ds, entry, random, seed):
    import tensorflow as tf

    from tfdeep.data import imagenet

    size = entry.shape[0]
    if not random:
        return ds.map(
            lambda encoded, label: (imagenet.centre_crop(encoded, size), label),
            num_parallel_calls=tf.data.AUTOTUNE,
        )
    # A seed for each example: repeatable, and parallel all the same.
    seeds = tf.data.Dataset.random(seed, rerandomize_each_iteration=True)
    return tf.data.Dataset.zip(ds, seeds.batch(2)).map(
        lambda pair, drawn: (
            imagenet.random_crop(pair[0], drawn, size),
            pair[1],
        ),
        num_parallel_calls=tf.data.AUTOTUNE,
    )


def _floats(entry, standardize, images, labels):
    """uint8 to float32 in [0, 1] or standardised, and int32 labels.

    For arrays and, where it becomes part of `tf.data`, for tensors.
    """
    if isinstance(images, np.ndarray):
        images, labels = images.astype("float32"), labels.astype("int32")
    else:
        import tensorflow as tf

        images, labels = tf.cast(images, "float32"), tf.cast(labels, "int32")
    images = images / np.float32(255)
    if standardize:
        mean, std = (np.float32(each) for each in (entry.mean, entry.std))
        images = (images - mean) / std
    return images, labels


def _augmented(layer, images, labels):
    return layer(images, training=True), labels


def _arrays(ds):
    batches = list(ds.as_numpy_iterator())
    images, labels = zip(*batches, strict=True)
    return np.concatenate(images), np.concatenate(labels)
