"""Where the noise comes from: a stream of its own, that nobody can repeat.

Noise that can be drawn again can be subtracted again. Keras' random numbers
follow `keras.utils.set_random_seed`; these follow the operating system's
entropy, 64 bits of it, whenever a model is made and whenever a `fit` begins.
The state of the stream advances with each draw. It is no weight: a file that
held it would let two runs from one checkpoint use the same noise twice.

A stream with a seed begins for each batch at a place that follows from the seed
and the number of the batch, so that what is resumed does not draw again what
was drawn before.
"""

import secrets

import keras
import numpy as np
from keras import ops

from tfdeep import backend
from tfdeep.checks import check_seed

STRIDE = 2654435769  # 2^32 over the golden ratio: spreads 0, 1, 2, ... evenly.


class NoiseSource:
    """A stream of standard normal numbers.

    Args:
        seed: `None` for a stream that nobody can predict, or a whole number
            for one that can be repeated, which is fit for tests alone.

    Attributes:
        generator: the `keras.random.SeedGenerator` that holds the state. The
            model that uses the stream keeps it as an attribute of its own.
    """

    def __init__(self, seed: int | None = None):
        check_seed(seed)
        self.seed = seed
        self.generator = keras.random.SeedGenerator(
            seed=0 if seed is None else seed
        )
        self.refresh()

    @property
    def is_fixed(self) -> bool:
        """Whether the stream can be repeated."""
        return self.seed is not None

    def refresh(self) -> None:
        """Begin at a place that is drawn from the system's entropy."""
        if self.is_fixed:
            return
        drawn = np.array([secrets.randbits(32) for _ in range(2)], "uint32")
        # Processes that train together add one noise, that of the first.
        words = backend.of_first_process(drawn).astype("uint32")
        state = self.generator.state
        state.assign(words.astype(state.dtype))

    def turn_to(self, batch) -> None:
        """Begin where the draws of a batch do, if the stream has a seed.

        Args:
            batch: scalar tensor, how many batches there were before.
        """
        if self.seed is None:
            return
        state = self.generator.state
        seed, stride = (
            ops.convert_to_tensor(np.array(value % 2**32).astype(state.dtype))
            for value in (self.seed, STRIDE)
        )
        first = seed + stride * ops.cast(batch, state.dtype)
        state.assign(ops.stack([first, ops.zeros_like(first)]))

    def normal(self, shape, dtype="float32"):
        """Independent numbers of mean 0 and standard deviation 1."""
        return keras.random.normal(shape, dtype=dtype, seed=self.generator)
