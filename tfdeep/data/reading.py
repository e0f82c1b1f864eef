"""Prepared examples, split into disjoint parts.

Only `tfdeep.data.pipeline` imports this, when a set is read: it needs
TensorFlow.
"""

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from tfdeep.data.local import SPLIT_SEED
from tfdeep.data.registry import DataInfo
from tfdeep.data.stratified import hold_out


def examples(
    built,
    entry: DataInfo,
    wanted: list[str],
    shuffle_files: bool = False,
    seed: int | None = None,
) -> tf.data.Dataset:
    """The examples of the splits `wanted`, one after the other.

    Args:
        built: the set's prepared TFDS builder.
        entry: the set's `DataInfo`.
        wanted: list of names from `entry.splits`.
        shuffle_files: boolean, whether to shuffle the order of the files.
            Only for sets whose splits are not cut here.
        seed: optional integer, for the order of the files.

    Returns:
        A `tf.data.Dataset` of dictionaries as TFDS gives them. Images are
        encoded unless the set is small.
    """
    decode = None if entry.small else {"image": tfds.decode.SkipDecoding()}
    if entry.held_out and {"train", "validation"} <= set(wanted):
        rest = [part for part in wanted if part not in ("train", "validation")]
        pieces = [_read(built, "train", decode)]
        pieces += [_read(built, part, decode) for part in rest]
    else:
        pieces = [
            _part(built, entry, part, decode, shuffle_files, seed)
            for part in wanted
        ]
    joined = pieces[0]
    for piece in pieces[1:]:
        joined = joined.concatenate(piece)
    return joined


def _part(built, entry, part, decode, shuffle_files, seed):
    if not entry.held_out or part not in ("train", "validation"):
        return _read(built, part, decode, shuffle_files, seed)
    held = hold_out(_labels(built, "train"), entry.held_out, SPLIT_SEED)
    keep = held if part == "validation" else ~held
    ds = _read(built, "train", decode).enumerate()
    ds = ds.filter(lambda i, example: tf.gather(tf.constant(keep), i))
    ds = ds.map(lambda i, example: example)
    # Else `fit` could not tell how many steps an epoch has.
    return ds.apply(tf.data.experimental.assert_cardinality(int(keep.sum())))


def _read(built, part, decode, shuffle_files=False, seed=None):
    # `load` caches after the cut; TFDS would keep a second copy before it.
    config = tfds.ReadConfig(shuffle_seed=seed, try_autocache=False)
    return built.as_dataset(
        split=part,
        shuffle_files=shuffle_files,
        decoders=decode,
        read_config=config,
    )


def _labels(built, part):
    """The labels of a split in the order it is read, images left encoded."""
    ds = _read(built, part, {"image": tfds.decode.SkipDecoding()})
    batches = ds.map(lambda example: example["label"]).batch(4096)
    return np.concatenate(list(batches.as_numpy_iterator()))
