"""Batches of the real `digits`: order, seeds, arrays, augmentation, errors."""

import keras
import numpy as np
import pytest

from tfdeep import data
from tfdeep.data import load


def run(ds):
    """One epoch as two arrays."""
    images, labels = zip(*ds.as_numpy_iterator(), strict=True)
    return np.concatenate(images), np.concatenate(labels)


def same(a, b):
    return a[0].shape == b[0].shape and all(map(np.array_equal, a, b))


def test_types_and_shapes(data_dir):
    ds = load("digits", batch_size=100, data_dir=data_dir)
    images, labels = ds.element_spec
    assert (images.dtype.name, labels.dtype.name) == ("float32", "int32")
    assert tuple(images.shape) == (None, 8, 8, 1)
    assert len(ds) == 13


def test_drop_remainder_fixes_the_batch(data_dir):
    ds = load("digits", batch_size=100, drop_remainder=True, data_dir=data_dir)
    assert tuple(ds.element_spec[0].shape) == (100, 8, 8, 1)
    assert len(ds) == 12


def test_without_standardization_images_are_in_0_1(data_dir):
    x, _ = load("digits", standardize=False, as_numpy=True, data_dir=data_dir)
    assert (x.min(), x.max()) == (0.0, 1.0)


def test_standardization_is_the_named_one(data_dir):
    raw, _ = load("digits", standardize=False, as_numpy=True, data_dir=data_dir)
    x, _ = load("digits", as_numpy=True, data_dir=data_dir)
    entry = data.info("digits")
    expected = (raw - entry.mean[0]) / entry.std[0]
    np.testing.assert_allclose(x, expected, atol=1e-5)


@pytest.mark.parametrize("augment", [False, True])
def test_equal_seeds_give_equal_runs_over_epochs(data_dir, augment):
    options = {"augment": augment, "shuffle": True, "data_dir": data_dir}
    first, second, other = (
        load("digits", "validation", seed=seed, **options) for seed in (4, 4, 5)
    )
    for epoch in range(2):
        one = run(first)
        assert same(one, run(second))
        assert epoch or not same(one, run(other))


def test_epochs_are_shuffled_anew(data_dir):
    ds = load("digits", data_dir=data_dir)
    one, two = run(ds), run(ds)
    assert not same(one, two)
    np.testing.assert_array_equal(np.sort(one[1]), np.sort(two[1]))


def test_without_a_seed_each_run_and_epoch_is_another(data_dir):
    options = {"seed": None, "data_dir": data_dir}
    ds, other = (load("digits", **options) for _ in "12")
    one, two = run(ds), run(ds)
    assert not same(one, two) and not same(one, run(other))
    assert np.bincount(one[1]).tolist() == np.bincount(two[1]).tolist()
    mixed = load("digits", shuffle=True, as_numpy=True, **options)
    plain = load("digits", as_numpy=True, **options)
    assert not same(mixed, plain)


def test_evaluation_keeps_the_order(data_dir):
    ds = load("digits", "test", batch_size=7, data_dir=data_dir)
    arrays = load("digits", "test", as_numpy=True, data_dir=data_dir)
    assert same(run(ds), run(ds))
    assert same(run(ds), arrays)


def test_arrays_are_shuffled_if_asked(data_dir):
    options = {"as_numpy": True, "data_dir": data_dir}
    plain = load("digits", **options)
    mixed = load("digits", shuffle=True, seed=1, **options)
    assert not same(plain, mixed)
    assert same(mixed, load("digits", shuffle=True, seed=1, **options))
    assert np.bincount(plain[1]).tolist() == np.bincount(mixed[1]).tolist()


def test_plus_joins_splits(data_dir):
    both = load("digits", "train+validation", as_numpy=True, data_dir=data_dir)
    parts = [
        load("digits", split, as_numpy=True, data_dir=data_dir)
        for split in ("train", "validation")
    ]
    for joined, *pieces in zip(both, *parts, strict=True):
        np.testing.assert_array_equal(joined, np.concatenate(pieces))


def test_augmentation_moves_each_epoch_and_only_by_the_padding(data_dir):
    options = {"shuffle": False, "data_dir": data_dir}
    plain, _ = run(load("digits", **options))
    ds = load("digits", augment=True, **options)
    one, two = run(ds)[0], run(ds)[0]
    assert (one != two).any()
    padded = np.pad(plain, ((0, 0), (1, 1), (1, 1), (0, 0)))
    crops = [
        padded[:, i : i + 8, j : j + 8] for i in range(3) for j in range(3)
    ]
    matches = np.stack([(crop == one).all(axis=(1, 2, 3)) for crop in crops])
    assert matches.any(axis=0).all()
    assert (matches.mean(axis=1) > 0.05).all()


def test_layers_of_ones_own(data_dir):
    options = {"shuffle": False, "data_dir": data_dir}
    double = keras.layers.Rescaling(2.0)
    plain, _ = run(load("digits", "test", **options))
    twice, _ = run(load("digits", "test", augment=[double], **options))
    np.testing.assert_allclose(twice, 2 * plain, rtol=1e-6)


@pytest.mark.parametrize(
    "arguments, match",
    [
        ({"name": "cifar"}, "'digits'.*'cifar10'.*Received: name='cifar'"),
        (
            {"split": "dev"},
            "'train', 'validation', 'test'.*Received: split='dev'",
        ),
        ({"split": "train+train"}, "name each split once"),
        ({"batch_size": 0}, "Received: batch_size=0"),
        ({"seed": -1}, "Received: seed=-1"),
        ({"seed": True}, "Received: seed=True"),
        ({"shuffle": "yes"}, "Received: shuffle='yes'"),
        ({"standardize": None}, "Received: standardize=None"),
        ({"as_numpy": 1}, "Received: as_numpy=1"),
        (
            {"as_numpy": True, "augment": True},
            "`augment` must be False with as_numpy",
        ),
        ({"name": "imagenet2012", "as_numpy": True}, "fit into memory"),
        ({"name": "imagenet2012", "split": "test"}, "'train', 'validation'"),
    ],
)
def test_errors_name_the_choices(arguments, match, data_dir):
    with pytest.raises(ValueError, match=match):
        load(**{"name": "digits", "data_dir": data_dir, **arguments})


@pytest.mark.parametrize(
    "arguments", [{"augment": "flip"}, {"augment": [1]}, {"data_dir": 3}]
)
def test_arguments_of_another_kind(arguments):
    with pytest.raises(TypeError, match="Received: "):
        load("digits", **arguments)
