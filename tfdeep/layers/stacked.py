"""What belongs to n variables when they are one, stacked along a new axis.

    w[i], i = 0, ..., n - 1,    w of shape (n, *shape)

Initializers, regularizers and constraints are written for one of them: fans,
norms and axes are those of a single variable. Here each is applied to every
copy by itself.
"""

import keras
import numpy as np
from keras import ops

from tfdeep import backend
from tfdeep.layers.fan_normal import FanNormal

# The same for all copies, or a sum of functions of single entries.
ALIKE = (
    keras.initializers.Zeros,
    keras.initializers.Ones,
    keras.initializers.Constant,
)
# Those that draw all entries from one random stream.
DRAWN = (
    FanNormal,
    keras.initializers.GlorotNormal,
    keras.initializers.GlorotUniform,
    keras.initializers.HeNormal,
    keras.initializers.HeUniform,
    keras.initializers.LecunNormal,
    keras.initializers.LecunUniform,
    keras.initializers.RandomNormal,
    keras.initializers.RandomUniform,
    keras.initializers.TruncatedNormal,
    keras.initializers.VarianceScaling,
)
SUMS = (
    keras.regularizers.L1,
    keras.regularizers.L2,
    keras.regularizers.L1L2,
)


def fold_seed(seed: int, copy: int) -> int:
    """The seed of a copy; that of copy 0 is the seed itself.

    Example:
        >>> from tfdeep.layers.stacked import fold_seed
        >>> fold_seed(7, 0), fold_seed(7, 1) != fold_seed(7, 2)
        (7, True)
    """
    if copy == 0:
        return seed
    sequence = np.random.SeedSequence([abs(seed), copy])
    return int(sequence.generate_state(1)[0] >> 1)


def fold_seeds(config, copy: int):
    """A configuration with every seed in it replaced by that of a copy."""
    if isinstance(config, (list, tuple)):
        return type(config)(fold_seeds(part, copy) for part in config)
    if not isinstance(config, dict):
        return config
    return {
        key: fold_seed(value, copy)
        if key == "seed" and isinstance(value, int)
        else fold_seeds(value, copy)
        for key, value in config.items()
    }


class StackedInitializer(keras.initializers.Initializer):
    """Draws each copy by itself, from the fans of one and a seed of its own.

    Keras' own initializers are left to the backend, to the same bits.

    Args:
        initializer: what one variable begins with.
    """

    def __init__(self, initializer):
        self.initializer = initializer

    def __call__(self, shape, dtype=None, **kwargs):
        if isinstance(self.initializer, ALIKE):
            return self.initializer(shape, dtype=dtype)
        seed = getattr(self.initializer, "seed", None)
        if type(self.initializer) in DRAWN and isinstance(seed, int):
            seeds = [fold_seed(seed, copy) for copy in range(shape[0])]
            return backend.draws(self.initializer, seeds, shape[1:], dtype)
        draws = [
            reseeded(self.initializer, copy)(shape[1:], dtype=dtype)
            for copy in range(shape[0])
        ]
        return ops.stack(draws)


def reseeded(initializer, copy: int):
    """The initializer of a copy."""
    if isinstance(initializer, StackedInitializer):
        return StackedInitializer(reseeded(initializer.initializer, copy))
    seed = getattr(initializer, "seed", None)
    if not isinstance(seed, int):
        return initializer  # It draws anew each time, or never.
    config = {**initializer.get_config(), "seed": fold_seed(seed, copy)}
    return type(initializer).from_config(config)


def copies_of(variable) -> list:
    """The value of each copy."""
    return ops.unstack(ops.convert_to_tensor(variable))


class StackedRegularizer(keras.regularizers.Regularizer):
    """The sum of the copies' penalties."""

    def __init__(self, regularizer):
        self.regularizer = regularizer

    def __call__(self, x):
        if isinstance(self.regularizer, SUMS):
            return self.regularizer(x)
        return sum(self.regularizer(part) for part in copies_of(x))


class StackedConstraint(keras.constraints.Constraint):
    """The constraint of one variable, on each copy."""

    def __init__(self, constraint):
        self.constraint = constraint

    def __call__(self, w):
        if isinstance(self.constraint, keras.constraints.NonNeg):
            return self.constraint(w)
        return ops.stack([self.constraint(part) for part in copies_of(w)])


def stacked(wrapper, function):
    """`wrapper(function)`, or `None` where there is nothing to wrap."""
    return None if function is None else wrapper(function)


class SeedStack(keras.random.SeedGenerator):
    """The states of n random streams, as one variable.

    Args:
        initializer: what the state of a single stream begins with.
        shape: the shape of its state.
        count: integer, n.
    """

    def __init__(self, initializer, shape, count: int):
        super().__init__(0)

        def states(shape, dtype=None):
            with backend.outside_of_traces():
                first = initializer(shape[1:], dtype=dtype)
                copies = np.repeat(ops.convert_to_numpy(first)[None], count, 0)
            for copy, state in enumerate(copies):
                # A state is the seed and the number of draws since.
                for stream in state.reshape(-1, 2):
                    stream[0] = fold_seed(int(stream[0]), copy)
            return ops.convert_to_tensor(copies, dtype=dtype)

        self.state = keras.Variable(
            states,
            shape=(count, *shape),
            dtype=keras.random.SeedGenerator(0).state.dtype,
            trainable=False,
            name="seed_generator_states",
        )
