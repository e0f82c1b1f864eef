"""What the TFDS builders of the embedded sets share."""

import abc

import numpy as np
import tensorflow_datasets as tfds

from tfdeep.data.stratified import hold_out

# One seed for ever: a split must not change between versions or users.
SPLIT_SEED = 0


def three_way(labels, validation: int, test: int) -> dict:
    """Stratified, disjoint indices of "train", "validation" and "test"."""
    index = np.arange(len(labels))
    tested = hold_out(labels, test, SPLIT_SEED)
    rest = index[~tested]
    validated = hold_out(labels[rest], validation, SPLIT_SEED)
    return {
        "train": rest[~validated],
        "validation": rest[validated],
        "test": index[tested],
    }


class EmbeddedBuilder(tfds.core.GeneratorBasedBuilder):
    """A TFDS builder of arrays that an installed package carries.

    A subclass sets `SHAPE`, `VALIDATION`, `TEST`, `DESCRIPTION` and
    `HOMEPAGE`, and defines `arrays`. Each example keeps its index in the
    arrays as "id".
    """

    VERSION = tfds.core.Version("1.0.0")
    SHAPE: tuple[int, int, int]
    VALIDATION: int
    TEST: int
    DESCRIPTION: str
    HOMEPAGE: str

    @abc.abstractmethod
    def arrays(self):
        """Return images, uint8 `(n, *SHAPE)`, and their integer labels."""

    def _info(self):
        features = tfds.features.FeaturesDict(
            {
                "id": np.int64,
                "image": tfds.features.Image(shape=self.SHAPE),
                "label": tfds.features.ClassLabel(num_classes=10),
            }
        )
        return tfds.core.DatasetInfo(
            builder=self,
            description=self.DESCRIPTION,
            features=features,
            supervised_keys=("image", "label"),
            homepage=self.HOMEPAGE,
        )

    def _split_generators(self, dl_manager):
        del dl_manager  # There is nothing to download.
        images, labels = self.arrays()
        chosen = three_way(labels, self.VALIDATION, self.TEST)
        return {
            split: self._generate_examples(images, labels, index)
            for split, index in chosen.items()
        }

    def _generate_examples(self, images, labels, index):
        for i in index.tolist():
            yield i, {"id": i, "image": images[i], "label": int(labels[i])}
