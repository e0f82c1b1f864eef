"""From a name to batches: the one path through TensorFlow Datasets."""

import functools

import keras
import numpy as np

from tfdeep.checks import check_positive
from tfdeep.data import prepare
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
    seed: int = 0,
    augment: bool | list = False,
    standardize: bool = True,
    as_numpy: bool = False,
    drop_remainder: bool = False,
    data_dir: str | None = None,
):
    """Read a data set as batches of standardised images and labels.

    The first use of a set prepares it in TFDS' directory; "digits" and
    "mnist5k" come with installed packages and need no network. The splits
    of a set are disjoint, stratified where they are cut here, and never
    depend on `seed`; "+" joins them, as in "train+validation", the whole of
    CIFAR's training images.

    Args:
        name: string, one of `names()`.
        split: string, one of `info(name).splits`, or several joined by "+".
        batch_size: positive integer.
        shuffle: boolean, whether to shuffle, anew in each epoch. By default
            where the split has "train" in it, but not for `as_numpy`.
        seed: integer, for shuffling and augmentation. Equal seeds give equal
            runs, on every backend; `keras.utils.set_random_seed` enters the
            order as well.
        augment: boolean or list of Keras layers to call on each standardised
            batch. True means `augmentation(name, seed=seed)`, and for
            "imagenet2012" a random resized crop as well.
        standardize: boolean, whether to subtract the set's mean and divide
            by its standard deviation, per channel. Else images are in [0, 1].
        as_numpy: boolean, whether to return the whole split as two arrays;
            `batch_size` and `drop_remainder` then play no part.
        drop_remainder: boolean, whether to drop a last, smaller batch.
        data_dir: optional string, TFDS' directory. By default TFDS' own: the
            variable TFDS_DATA_DIR, else `~/tensorflow_datasets`.

    Returns:
        A `tf.data.Dataset` of `(images, labels)`, float32 `(batch, height,
        width, channels)` and int32 `(batch,)`; or these two as NumPy arrays.

    Raises:
        ValueError: if an argument is none of its values.
        DataUnavailableError: if the set cannot be had.
        ImportError: if a package of the extra `datasets` is missing.

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
    layers = _layers(name, augment, seed)
    if as_numpy:
        _check_numpy(entry, layers)
    if shuffle is None:
        shuffle = "train" in wanted and not as_numpy
    built = prepare.builder(entry, data_dir)
    ds = _images(built, entry, wanted, seed if shuffle else None)
    if not entry.small:
        ds = _crops(ds, entry, random=augment is True, seed=seed)
    ds = ds.batch(batch_size, drop_remainder=drop_remainder and not as_numpy)
    ds = _floats(ds, entry, standardize)
    for layer in layers:
        ds = ds.map(functools.partial(_augmented, layer))
    return _arrays(ds) if as_numpy else ds.prefetch(2)


def _layers(name, augment, seed):
    if isinstance(augment, bool):
        return augmentation(name, seed=seed) if augment else []
    return list(augment)


def _check_numpy(entry: DataInfo, layers) -> None:
    if layers:
        raise ValueError(
            "`augment` came with `as_numpy=True`. Arrays are drawn once, while "
            "augmentation must differ in each epoch. Leave `augment` out and "
            "put the layers of `tfdeep.data.augmentation` into the model."
        )
    if not entry.small:
        raise ValueError(
            f"`as_numpy=True` came with {entry.name!r}. The whole split must "
            "fit into memory. Iterate over batches with "
            "`load(...).as_numpy_iterator()`."
        )


def _images(built, entry, wanted, shuffle_seed):
    """Pairs (image, label) of single examples, as stored."""
    from tfdeep.data.reading import examples

    file_seed = None if entry.small else shuffle_seed
    ds = examples(built, entry, wanted, file_seed)
    ds = ds.map(lambda example: (example["image"], example["label"]))
    if entry.small and "extra" not in wanted:
        ds = ds.cache()
    if shuffle_seed is None:
        return ds
    buffer = SMALL_BUFFER if entry.small else ENCODED_BUFFER
    return ds.shuffle(buffer, seed=shuffle_seed)


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


def _floats(ds, entry, standardize):
    """uint8 batches to float32 in [0, 1], standardised, and int32 labels."""
    import tensorflow as tf

    layer = standardization(entry.name) if standardize else (lambda x: x)

    def convert(images, labels):
        images = tf.cast(images, "float32") / 255.0
        return layer(images), tf.cast(labels, "int32")

    return ds.map(convert, num_parallel_calls=tf.data.AUTOTUNE)


def _augmented(layer, images, labels):
    return layer(images, training=True), labels


def _arrays(ds):
    batches = list(ds.as_numpy_iterator())
    images, labels = zip(*batches, strict=True)
    return np.concatenate(images), np.concatenate(labels)
