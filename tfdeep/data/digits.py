"""`digits`: scikit-learn's 1,797 handwritten digits of 8x8 pixels."""

import numpy as np

from tfdeep.data.embedded import EmbeddedBuilder


def to_uint8(levels):
    """Map the levels 0..16 to 0..255, rounded: all 17 stay distinct."""
    return np.rint(np.asarray(levels) * 255 / 16).astype("uint8")


class Digits(EmbeddedBuilder):
    """Builder of `digits`: 1,257 train, 180 validation, 360 test images."""

    name = "digits"
    SHAPE = (8, 8, 1)
    VALIDATION = 180
    TEST = 360
    DESCRIPTION = (
        "1,797 handwritten digits of 8x8 pixels: the test part of the UCI set "
        "'Optical Recognition of Handwritten Digits', as in scikit-learn."
    )
    HOMEPAGE = "https://scikit-learn.org/stable/datasets/toy_dataset.html"

    def arrays(self):
        from sklearn.datasets import load_digits

        digits = load_digits()
        return to_uint8(digits.images)[..., None], digits.target
