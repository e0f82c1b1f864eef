"""Private training with a bug in it, each of them once made by somebody."""

import keras
import numpy as np

from tfdeep.privacy import FlatClipping, GaussianMechanism


class NoClipping(FlatClipping):
    """Clipping was forgotten."""

    def factors(self, norms, clip):
        return keras.ops.ones_like(norms)


class HalvedNoise(GaussianMechanism):
    """The standard deviation was taken for something else."""

    def add_noise(self, sums, counts, state, sensitivity, draw):
        return super().add_noise(sums, counts, state, sensitivity / 2, draw)


class ReplayedNoise(GaussianMechanism):
    """The noise has a seed."""

    def add_noise(self, sums, counts, state, sensitivity, draw):
        def again(shape):
            return keras.random.normal(shape, seed=3)

        return super().add_noise(sums, counts, state, sensitivity, again)


class SeededNoise(GaussianMechanism):
    """The noise follows Keras' random seed."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.generator = None

    def add_noise(self, sums, counts, state, sensitivity, draw):
        def follow(shape):
            return keras.random.normal(shape)

        return super().add_noise(sums, counts, state, sensitivity, follow)


class Linear:
    """Per-example gradients of a linear model, in NumPy: (x w - y) x.

    It has what the audits ask of a private model; subclasses have the bugs.
    """

    clip = 1.0

    def __init__(self, features=5, seed=0):
        self.w = np.random.default_rng(seed).normal(size=features)

    def gradients(self, x, y, sample_weight, mask=1.0):
        x = x * mask
        with np.errstate(invalid="ignore", over="ignore"):
            residual = (x @ self.w - y[:, 0]) * sample_weight
            return x * residual[:, None]

    def clipped(self, gradients, norms):
        kept = np.isfinite(norms)
        factors = self.clip / np.maximum(np.where(kept, norms, 1.0), self.clip)
        rows = np.where(kept[:, None], gradients, 0.0)
        return (rows * factors[:, None]).sum(axis=0)

    def per_example_norms(self, x, y, sample_weight):
        norms = np.linalg.norm(self.gradients(x, y, sample_weight), axis=1)
        return np.where(np.isfinite(norms), norms, 0.0)

    def clipped_sum(self, x, y, sample_weight):
        gradients = self.gradients(x, y, sample_weight)
        return [self.clipped(gradients, np.linalg.norm(gradients, axis=1))]


class ClippedMean(Linear):
    """The gradient of the batch is clipped, not those of the examples."""

    def clipped_sum(self, x, y, sample_weight):
        total = self.gradients(x, y, sample_weight).mean(axis=0)
        factor = self.clip / max(np.linalg.norm(total), self.clip)
        return [len(x) * factor * total]


class TwoMasks(Linear):
    """Norms are of one dropout mask, gradients of another."""

    def masks(self, shape):
        rng = np.random.default_rng(7)
        return rng.integers(0, 2, (2, *shape)) * 2.0

    def clipped_sum(self, x, y, sample_weight):
        first, second = self.masks(x.shape)
        norms = self.gradients(x, y, sample_weight, first)
        gradients = self.gradients(x, y, sample_weight, second)
        return [self.clipped(gradients, np.linalg.norm(norms, axis=1))]


class OneMask(TwoMasks):
    """As it should be."""

    def masks(self, shape):
        mask = super().masks(shape)[0]
        return mask, mask


class Centred(Linear):
    """Examples see one another, through the mean of the batch."""

    def gradients(self, x, y, sample_weight, mask=1.0):
        return super().gradients(x - x.mean(axis=0), y, sample_weight, mask)


class Poisoned(Linear):
    """What is not finite is not left out."""

    def clipped(self, gradients, norms):
        factors = self.clip / np.maximum(norms, self.clip)
        return (gradients * factors[:, None]).sum(axis=0)
