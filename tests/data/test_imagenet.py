"""ImageNet's crops against what they must keep."""

import numpy as np
import pytest
import tensorflow as tf

from tfdeep.data.imagenet import centre_crop, random_crop


def jpeg(height, width):
    """Red grows from left to right, green from top to bottom."""
    red = np.broadcast_to(np.linspace(0, 255, width)[None], (height, width))
    green = np.broadcast_to(
        np.linspace(0, 255, height)[:, None], (height, width)
    )
    image = np.stack([red, green, np.full_like(red, 99)], axis=-1)
    return tf.io.encode_jpeg(image.astype("uint8"), quality=100)


@pytest.mark.parametrize(
    "size", [(300, 500), (500, 300), (100, 80), (256, 256)]
)
def test_centre_crop_shows_the_middle_at_short_side_256(size):
    crop = centre_crop(jpeg(*size), 224).numpy().astype(float)
    assert crop.shape == (224, 224, 3)
    # Of a short side of 256 the crop shows 224 / 256.
    for axis, length in enumerate(size):
        shown = 224 / 256 * min(size) / length * 255
        line = crop[112, :, 0] if axis == 1 else crop[:, 112, 1]
        assert line[-1] - line[0] == pytest.approx(shown, abs=6)
        assert line.mean() == pytest.approx(127.5, abs=3)


def test_random_crop_has_the_papers_area_and_aspect():
    image = jpeg(400, 600)
    areas, aspects = [], []
    for seed in range(60):
        crop = random_crop(image, (seed, 1), 224).numpy().astype(float)
        assert crop.shape == (224, 224, 3)
        wide = (crop[112, -1, 0] - crop[112, 0, 0]) / 255
        high = (crop[-1, 112, 1] - crop[0, 112, 1]) / 255
        areas.append(wide * high)
        aspects.append(wide * 600 / (high * 400))
    assert min(areas) > 0.06 and max(areas) < 1.02
    assert max(areas) - min(areas) > 0.5
    assert min(aspects) > 0.7 and max(aspects) < 1.4


def test_random_crop_depends_on_the_seed_alone():
    image = jpeg(300, 300)
    first = random_crop(image, (3, 4), 64).numpy()
    np.testing.assert_array_equal(first, random_crop(image, (3, 4), 64).numpy())
    assert (first != random_crop(image, (3, 5), 64).numpy()).any()
