"""ImageNet's crops from encoded images of any size.

Only `tfdeep.data.pipeline` imports this, when a set is read: it needs
TensorFlow.

Reference:
    Evaluation, short side 256 and centre crop: Krizhevsky et al., 2012.
    Training, a crop of 8 to 100 % of the area at an aspect of 3/4 to 4/3:
    Szegedy et al., "Going Deeper with Convolutions", 2015, section 6.
"""

import tensorflow as tf

SHORT_SIDE = 256


def centre_crop(encoded, size: int):
    """Resize the short side to 256, crop `size` x `size` at the centre.

    Args:
        encoded: scalar string tensor, a JPEG.
        size: integer, the side of the crop.

    Returns:
        Tensor of uint8, `(size, size, 3)`.
    """
    image = tf.io.decode_image(encoded, channels=3, expand_animations=False)
    sides = tf.cast(tf.shape(image)[:2], "float32")
    scale = SHORT_SIDE / tf.reduce_min(sides)
    sides = tf.cast(tf.round(sides * scale), "int32")
    image = tf.image.resize(image, sides, antialias=True)
    image = tf.image.resize_with_crop_or_pad(image, size, size)
    return _uint8(image)


def random_crop(encoded, seed, size: int):
    """Crop at random and resize to `size` x `size`.

    Args:
        encoded: scalar string tensor, a JPEG.
        seed: integer tensor, `(2,)`.
        size: integer, the side of the result.

    Returns:
        Tensor of uint8, `(size, size, 3)`.
    """
    begin, extent, _ = tf.image.stateless_sample_distorted_bounding_box(
        tf.image.extract_jpeg_shape(encoded),
        tf.zeros((1, 0, 4)),
        seed=seed,
        aspect_ratio_range=(3 / 4, 4 / 3),
        area_range=(0.08, 1.0),
        max_attempts=10,
        use_image_if_no_bounding_boxes=True,
    )
    window = tf.concat([begin[:2], extent[:2]], axis=0)
    image = tf.image.decode_and_crop_jpeg(encoded, window, channels=3)
    return _uint8(tf.image.resize(image, (size, size), antialias=True))


def _uint8(image):
    return tf.saturate_cast(tf.round(image), "uint8")
