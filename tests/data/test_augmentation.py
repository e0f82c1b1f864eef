"""The random crop against padding and slicing, one image at a time."""

import keras
import numpy as np
import pytest

from tfdeep.data import RandomPadCrop, augmentation
from tfdeep.data.augmentation import MODES, whole_pixels

IMAGES = np.random.default_rng(0).normal(size=(16, 7, 5, 2)).astype("float32")


def slow_pad_crop(image, down, right, padding, mode):
    around = ((padding, padding), (padding, padding), (0, 0))
    padded = np.pad(image, around, mode=mode)
    top, left = padding - down, padding - right
    height, width = image.shape[:2]
    return padded[top : top + height, left : left + width]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_equals_padding_and_cropping_each_image(mode, data_format):
    layer = RandomPadCrop(3, mode, seed=5, data_format=data_format)
    first = data_format == "channels_first"
    x = IMAGES.transpose(0, 3, 1, 2) if first else IMAGES
    drawn = layer.get_random_transformation(x)
    y = np.asarray(layer.transform_images(x, drawn))
    y = y.transpose(0, 2, 3, 1) if first else y
    moves = np.asarray(drawn["translations"]).astype(int)
    assert len({tuple(move) for move in moves.tolist()}) > 1
    for image, (right, down), got in zip(IMAGES, moves, y, strict=True):
        expected = slow_pad_crop(image, down, right, 3, mode)
        np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("mode", MODES)
def test_masks_move_as_the_images_and_stay_integers(mode):
    masks = np.arange(2 * 35).reshape(2, 7, 5, 1).astype("int32")
    layer = RandomPadCrop(3, mode, seed=2)
    both = {"images": masks.astype("float32"), "segmentation_masks": masks}
    moved = layer(both, training=True)
    images, masks = (np.asarray(moved[key]) for key in both)
    assert masks.dtype == "int32" and masks.any()
    np.testing.assert_array_equal(images, masks)


def test_every_shift_is_equally_likely():
    layer = RandomPadCrop(padding=2, seed=1)
    x = np.zeros((4000, 9, 9, 1), "float32")
    moves = np.asarray(layer.get_random_transformation(x)["translations"])
    for axis in (0, 1):
        values, counts = np.unique(moves[:, axis], return_counts=True)
        assert values.tolist() == [-2, -1, 0, 1, 2]
        # Binomial(4000, 1/5): standard deviation 25.3.
        assert (abs(counts - 800) < 5 * 25.3).all()
    assert abs(np.corrcoef(moves.T)[0, 1]) < 0.08


def test_ends_of_the_interval_stay_within_the_padding():
    ends = np.array([-1.0, np.nextafter(1.0, 0.0), 1.0])
    assert whole_pixels(ends, 4, np).tolist() == [-4, 4, 4]


def test_neutral_settings_are_the_identity():
    y = RandomPadCrop(padding=0)(IMAGES, training=True)
    np.testing.assert_array_equal(np.asarray(y), IMAGES)
    y = RandomPadCrop(padding=3)(IMAGES, training=False)
    np.testing.assert_array_equal(np.asarray(y), IMAGES)


def test_one_image_without_a_batch():
    y = np.asarray(
        RandomPadCrop(3, "reflect", seed=0)(IMAGES[0], training=True)
    )
    candidates = [
        slow_pad_crop(IMAGES[0], down, right, 3, "reflect")
        for down in range(-3, 4)
        for right in range(-3, 4)
    ]
    assert any(np.array_equal(y, candidate) for candidate in candidates)


def test_equal_seeds_give_equal_crops_and_calls_differ():
    first, second = RandomPadCrop(seed=3), RandomPadCrop(seed=3)
    a, b = (
        np.asarray(layer(IMAGES, training=True)) for layer in (first, second)
    )
    np.testing.assert_array_equal(a, b)
    assert (np.asarray(first(IMAGES, training=True)) != a).any()


def test_config_round_trip():
    layer = RandomPadCrop(2, "reflect", seed=9, name="crop")
    config = layer.get_config()
    again = RandomPadCrop.from_config(config)
    assert again.get_config() == config
    assert (again.padding, again.mode, again.seed) == (2, "reflect", 9)
    y, z = (np.asarray(x(IMAGES, training=True)) for x in (layer, again))
    np.testing.assert_array_equal(y, z)


def test_trains_and_saves_inside_a_model(tmp_path):
    model = keras.Sequential(
        [
            keras.Input((7, 5, 2)),
            RandomPadCrop(2, seed=0),
            keras.layers.Flatten(),
            keras.layers.Dense(3),
        ]
    )
    model.compile("sgd", "mse")
    model.fit(IMAGES, np.zeros((16, 3)), verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    y, z = (np.asarray(net(IMAGES)) for net in (loaded, model))
    np.testing.assert_allclose(y, z, atol=1e-6)


@pytest.mark.parametrize("padding", [-1, 1.5, True, None, "4"])
def test_bad_padding(padding):
    with pytest.raises(
        ValueError, match="`padding` must be an integer of at least 0"
    ):
        RandomPadCrop(padding)


def test_bad_mode():
    with pytest.raises(ValueError, match="'constant', 'reflect'"):
        RandomPadCrop(4, mode="same")


def test_mirroring_needs_enough_pixels():
    with pytest.raises(ValueError, match="7x5 and padding=5"):
        RandomPadCrop(5, "reflect")(IMAGES, training=True)


def test_digits_are_never_mirrored():
    for name in ("digits", "mnist5k", "mnist", "svhn_cropped"):
        kinds = [type(layer) for layer in augmentation(name)]
        assert keras.layers.RandomFlip not in kinds
    for name in ("cifar10", "cifar100", "imagenet2012"):
        kinds = [type(layer) for layer in augmentation(name)]
        assert keras.layers.RandomFlip in kinds
