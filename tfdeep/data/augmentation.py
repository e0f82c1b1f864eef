"""The papers' random crop as a Keras layer."""

import keras

from tfdeep.checks import check_choice
from tfdeep.layers.seed_state import SavesSeedState

MODES = ("constant", "reflect")


def whole_pixels(u, padding: int, ops):
    """floor((u + 1) (2p + 1) / 2) - p: u in [-1, 1) to shifts in [-p, p]."""
    steps = ops.floor((u + 1.0) * (2 * padding + 1) / 2.0)
    # Rounding may push the largest u one step too far.
    return ops.clip(steps - padding, -padding, padding)


def shift(images, shifts, axis: int, mode: str, ops):
    """Move each image by its whole number of pixels along `axis`.

    y[b, i] = x[b, i - s_b], with zeros outside the image for "constant"
    and x[b, |i - s_b|] and its mirror at the far edge for "reflect", which
    is what padding and cropping give.

    Args:
        images: tensor of rank 4.
        shifts: integer tensor, `(batch,)`.
        axis: integer, the axis to move along.
        mode: string, "constant" or "reflect".
        ops: module with NumPy's functions for these tensors.

    Returns:
        Tensor of the shape of `images`.
    """
    size = images.shape[axis]
    source = ops.reshape(ops.arange(size), (1, -1)) - shifts[:, None]
    if mode == "reflect":
        source = (size - 1) - ops.abs((size - 1) - ops.abs(source))
    inside = ops.logical_and(source >= 0, source < size)
    shape = [-1, 1, 1, 1]
    shape[axis] = size
    index = ops.reshape(ops.clip(source, 0, size - 1), shape)
    moved = ops.take_along_axis(images, index, axis=axis)
    return ops.where(ops.reshape(inside, shape), moved, ops.zeros_like(moved))


@keras.saving.register_keras_serializable(package="tfdeep")
class RandomPadCrop(SavesSeedState, keras.layers.RandomTranslation):
    """Pads each image and crops a window of the old size at random.

    Use it on training images, in a `tf.data` pipeline or as the first layer
    of a model. The same as moving each image by whole pixels:

        y_b[i, j] = x_b[i - s_b, j - t_b],  s_b, t_b ~ U{-p, ..., p}

    Where `i - s_b` leaves the image, y is 0 (`mode="constant"`; the mean
    colour, if the images are standardised before) or the image mirrored
    without its edge (`mode="reflect"`). At inference it is the identity, as
    it is at `padding=0`.

    Like the layer of Keras it inherits from it works inside `tf.data` on
    every backend, and takes a dictionary with "images" and "labels", and with
    "segmentation_masks", which move and are mirrored as the images. Map it
    without `num_parallel_calls` if runs are to be repeatable: its random
    state is a variable.

    Reference:
        He et al., "Deep Residual Learning for Image Recognition", 2016,
        section 4.2 (constant); Zagoruyko and Komodakis, "Wide Residual
        Networks", 2016, section 3 (reflect).

    Args:
        padding: non-negative integer p, the pixels added on each side.
        mode: "constant" or "reflect".
        seed: optional integer, the start of the layer's random stream.
        **kwargs: `data_format`, `name`, `dtype` and further arguments of a
            Keras layer.

    Call arguments:
        inputs: tensor of images, height and width known.
        training: boolean, whether to crop. Defaults to True.

    Input shape:
        `(batch, height, width, channels)` or one image without the batch.

    Output shape:
        That of the input.

    Raises:
        ValueError: if `padding` is negative or no integer, if `mode` is
            unknown, or if images are too small to mirror.

    Example:
        >>> import numpy as np, tfdeep.data
        >>> crop = tfdeep.data.RandomPadCrop(padding=1, seed=0)
        >>> y = np.asarray(crop(np.ones((64, 3, 3, 1)), training=True))
        >>> sorted(set(y.sum(axis=(1, 2, 3)).tolist()))
        [4.0, 6.0, 9.0]
    """

    def __init__(
        self,
        padding: int = 4,
        mode: str = "constant",
        seed: int | None = None,
        **kwargs,
    ):
        if type(padding) is not int or padding < 0:
            raise ValueError(
                "`padding` must be an integer of at least 0. Received: "
                f"padding={padding!r}. Pass the pixels to add on each side, "
                "such as 4."
            )
        check_choice("mode", mode, MODES)
        super().__init__(
            height_factor=1.0,
            width_factor=1.0,
            fill_mode="constant",
            interpolation="nearest",
            seed=seed,
            **kwargs,
        )
        self.padding = padding
        self.mode = mode
        self.supports_jit = True

    @property
    def seed_generator(self):
        """The random stream, which is saved with the model."""
        return self.generator

    def get_random_transformation(self, data, training=True, seed=None):
        drawn = super().get_random_transformation(data, training, seed)
        if drawn is None:
            return None
        ops = self.backend.numpy
        size = self._size(drawn["input_shape"])
        size = self.backend.cast(ops.stack(size[::-1]), "float32")
        drawn["translations"] = whole_pixels(
            drawn["translations"] / size, self.padding, ops
        )
        return drawn

    def transform_images(self, images, transformation, training=True):
        images = self.backend.cast(images, self.compute_dtype)
        return self._moved(images, transformation, training)

    def transform_segmentation_masks(
        self, segmentation_masks, transformation, training=True
    ):
        return self._moved(segmentation_masks, transformation, training)

    def _moved(self, images, transformation, training):
        """The images by their whole pixels, of the dtype that they have."""
        if not training or transformation is None or self.padding == 0:
            return images
        images = self.backend.convert_to_tensor(images)
        self._check_size(images.shape)
        ops = self.backend.numpy
        batched = len(images.shape) == 4
        images = images if batched else ops.expand_dims(images, 0)
        moves = self.backend.cast(transformation["translations"], "int32")
        rows = 2 if self.data_format == "channels_first" else 1
        images = shift(images, moves[:, 1], rows, self.mode, ops)
        images = shift(images, moves[:, 0], rows + 1, self.mode, ops)
        return images if batched else ops.squeeze(images, axis=0)

    def _size(self, shape):
        return (
            shape[-2:] if self.data_format == "channels_first" else shape[-3:-1]
        )

    def _check_size(self, shape):
        size = self._size(shape)
        if self.mode == "reflect" and min(size) <= self.padding:
            raise ValueError(
                "Images must have more pixels than the padding that mirrors "
                f"them. Received: images of {size[0]}x{size[1]} and padding="
                f"{self.padding}. Pass a smaller padding or mode='constant'."
            )

    def get_config(self):
        config = super().get_config()
        for name in ("height_factor", "width_factor", "interpolation"):
            del config[name]
        for name in ("fill_mode", "fill_value"):
            del config[name]
        return {**config, "padding": self.padding, "mode": self.mode}
