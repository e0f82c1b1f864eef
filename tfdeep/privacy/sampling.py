"""Poisson samples of a data set as batches of one shape."""

import hashlib
import os
import weakref
from collections import Counter
from typing import Any

import keras
import numpy as np
from keras import ops

from tfdeep import backend
from tfdeep.checks import check_seed
from tfdeep.privacy.per_example.purity import NotPrivateError
from tfdeep.privacy.statement import Statement

# The weight of padding: 0, with a sign that no other batch has by chance. It is
# what a program can know a sample by.
MARK = -0.0

# The weights of the samples that nobody has trained on yet, and their plans.
_waiting: dict[int, tuple] = {}


def uniform(count: int, key: tuple | None = None, secret: bytes = b""):
    """Numbers in [0, 1): from the operating system, or those of a key.

    Without a key they are as unpredictable as the system's randomness, and
    have nothing to do with NumPy's, Python's or Keras' seeds.

    Args:
        count: how many.
        key: integers that the numbers follow from.
        secret: bytes that they follow from besides; then nobody without them
            can tell the numbers of a key from random ones.
    """
    if key is not None and not secret:
        return np.random.default_rng(key).random(count)
    drawn = os.urandom(8 * count)
    if secret:
        text = secret + repr(key).encode()
        drawn = hashlib.shake_256(text).digest(8 * count)
    bits = np.frombuffer(drawn, dtype=np.uint64)
    return (bits >> np.uint64(11)) * 2.0**-53


def poisson_sample(
    count: int, q: float, key: tuple | None = None, secret: bytes = b""
):
    """The indices of a sample that holds each of `count` with probability q."""
    return np.flatnonzero(uniform(count, key, secret) < q)


def rows_of_batch(plan) -> int:
    """The rows of a padded sample: as many for each process that trains."""
    count = backend.process_count()
    return -(-plan.padded_batch_size // count) * count


def padded(
    array: np.ndarray, chosen: np.ndarray, rows: int, padding: float = 0.0
) -> np.ndarray:
    """The chosen rows, followed by zeros, or another number."""
    shape = (rows, *array.shape[1:])
    result = np.full(shape, padding).astype(array.dtype)
    result[: len(chosen)] = array[chosen]
    return result


class PoissonBatches(keras.utils.PyDataset):
    """Batches of Poisson samples; see `poisson_batches`."""

    def __init__(self, x, y, plan, sample_weight=None, seed=None):
        super().__init__()
        self.plan = plan
        self.seed = seed
        self._data = keras.tree.map_structure(rows_of, (x, y))
        weights = np.ones(plan.num_examples, "float32")
        if sample_weight is not None:
            weights = checked_weights(sample_weight)
        self._weights = weights
        self._epoch = 0
        self._asked: Counter = Counter()
        self._secret = b""
        if backend.process_count() > 1 and seed is None:
            # One sample for all, of which each takes its own rows.
            drawn = np.frombuffer(os.urandom(32), "uint32")
            self._secret = backend.of_first_process(drawn).tobytes()
        check_rows((self._data, weights), plan)

    def __len__(self) -> int:
        return self.plan.steps_per_epoch

    def __getitem__(self, index: int) -> tuple[Any, Any, np.ndarray]:
        plan = self.plan
        key = None if self.seed is None else (self.seed, self._epoch, index)
        if self._secret:  # Also asked twice, it is drawn anew.
            key = (self._epoch, index, self._asked[index])
            self._asked[index] += 1
        chosen = poisson_sample(
            plan.num_examples, plan.sampling_probability, key, self._secret
        )
        # A sample beyond the padding, one in about a million, is not cut
        # short: its batch has twice the rows, or three times. One row at
        # least is padding, unless samples are all data.
        rows = rows_of_batch(plan)
        wanted = len(chosen) + (plan.sampling_probability < 1.0)
        rows *= max(1, -(-wanted // rows))
        x, y = keras.tree.map_structure(
            lambda array: padded(array, chosen, rows), self._data
        )
        weights = padded(self._weights, chosen, rows, MARK)
        count, number = backend.process_count(), backend.process_index()
        if count > 1:
            x, y, weights = keras.tree.map_structure(
                lambda array: np.split(array, count)[number].copy(),
                (x, y, weights),
            )
        note_sample(self.plan, (x, y, weights))
        return x, y, weights

    def on_epoch_end(self):
        self._epoch += 1
        self._asked.clear()

    def statement(self) -> Statement:
        """The guarantee of the plan in words; it names a fixed seed."""
        return self.plan.statement(seeded=self.seed is not None)


def is_sample(weights):
    """Whether a batch is padded as a sample is, or shows no example.

    It is asked within a program, of the batch of all devices.

    Args:
        weights: (rows,) sample weights of the rows on this device.

    Returns:
        A scalar boolean tensor.
    """
    nothing = ops.equal(weights, 0)
    marked = ops.logical_and(nothing, ops.signbit(weights))
    marks, shown = backend.sum_over_replicas(
        [
            ops.sum(ops.cast(each, "float32"))
            for each in (marked, ops.logical_not(nothing))
        ]
    )
    return ops.logical_or(marks > 0, ops.equal(shown, 0))


def note_sample(plan, sample: tuple) -> None:
    """Remember a sample by its arrays, as long as that of its weights lives.

    They cannot be written to any more.
    """
    arrays = keras.tree.flatten(sample)
    for array in arrays:
        array.flags.writeable = False
    *_, weights = arrays
    key = id(weights)
    forget = weakref.ref(weights, lambda _: _waiting.pop(key, None))
    _waiting[key] = forget, plan, [weakref.ref(each) for each in arrays]


def take_sample(plan, sample: tuple) -> None:
    """Raise `NotPrivateError` unless this is a sample of the plan, used once.

    A batch of weights that are all 0 shows no example, and may always come.

    Args:
        plan: a `Plan`.
        sample: inputs, targets and weights.
    """
    arrays, weights = keras.tree.flatten(sample), sample[2]
    reference, drawn_for, noted = _waiting.pop(
        id(weights), (lambda: None, None, [])
    )
    same = len(arrays) == len(noted) and all(
        each() is array for each, array in zip(noted, arrays, strict=True)
    )
    if same and reference() is weights:
        if drawn_for.get_config() == plan.get_config():
            return
    if not np.any(keras.ops.convert_to_numpy(weights)):
        return
    raise NotPrivateError(
        "A batch must be a Poisson sample of the plan that was not used "
        "before: the plan accounts for a new sample in each update. "
        "Received: another. Pass the three arrays of a batch of "
        "tfdeep.privacy.poisson_batches(x, y, plan) as they are, each batch "
        "once, or make the plan with sampling='shuffled'."
    )


def rows_of(data) -> np.ndarray:
    """Data as an array whose rows can be picked."""
    if not hasattr(data, "__getitem__") or isinstance(data, str):
        raise ValueError(
            "The data must be arrays of known length, from which a Poisson "
            "sample picks examples by number. Received: "
            f"{type(data).__name__}. Load it into NumPy arrays, or use "
            "sampling='shuffled'."
        )
    if isinstance(data, np.ndarray):
        return data
    return keras.ops.convert_to_numpy(data)


def checked_weights(sample_weight) -> np.ndarray:
    """One weight for each example, as float32."""
    weights = np.asarray(sample_weight, "float32")
    if weights.ndim != 1 or not np.all((weights >= 0) & np.isfinite(weights)):
        raise ValueError(
            "`sample_weight` must hold one finite number from 0 for each "
            f"example. Received: shape {weights.shape}. Mend these weights, "
            "or leave them out."
        )
    return weights


def check_rows(data, plan) -> None:
    """Raise `ValueError` unless all arrays have one row per example."""
    for array in keras.tree.flatten(data):
        rows = array.shape[0] if array.ndim else None
        if rows != plan.num_examples:
            raise ValueError(
                "The data must be all training data, whose number the plan "
                f"is about: {plan.num_examples}. Received: {rows} rows. Pass "
                "them all, and their number to the Plan."
            )


def poisson_batches(
    x, y, plan, seed: int | None = None, sample_weight=None
) -> PoissonBatches:
    """Batches in which each example is with equal chance, for `fit`.

    It is the sampling behind the epsilon of a plan. A sample has any size, a
    batch always has the same one: the rows are padded with zeros to
    `plan.padded_batch_size`, and the third element, the sample weights, is 0
    for padding, which then adds nothing to gradients and metrics. A sample
    with no example at all still makes a batch, and so a noisy update. In the
    rare case that a sample is larger than the padding allows (one in about a
    million), its batch has twice the rows: no example is left out, so the
    accountant's assumption holds exactly.

    Processes that train together draw one sample in common, and each gets its
    own part of the rows; all must hold all of the data, and make the batches
    within the scope of their strategy.

    An epoch is `plan.steps_per_epoch` updates; with `epochs=plan.epochs` a
    `fit` makes all planned updates, and `PrivateModel` stops it there. Random
    numbers come from the operating system and do not depend on
    `keras.utils.set_random_seed`.

    Args:
        x: array, or lists, tuples and dicts of arrays for several inputs.
        y: targets, likewise.
        plan: a `Plan` with Poisson sampling.
        seed: optional integer, for tests and comparisons: the samples repeat,
            and the result is unfit for release, as the statement then says.
        sample_weight: optional array, one weight from 0 for each example.
            Class weights go here too.

    Returns:
        A `keras.utils.PyDataset` of `(x, y, sample_weight)`, with `plan` and
        `seed` as attributes and a `statement()`.

    Raises:
        ValueError: if the data do not have the plan's number of examples, or
            the plan is about shuffled batches.

    Example:
        >>> import numpy as np
        >>> from tfdeep import privacy
        >>> plan = privacy.Plan(1_000, 64, 100, 1e-5, epsilon=3)
        >>> x, y = np.ones((1_000, 8)), np.zeros(1_000)
        >>> batches = privacy.poisson_batches(x, y, plan)
        >>> len(batches), [part.shape for part in batches[0]]
        (16, [(104, 8), (104,), (104,)])
    """
    if getattr(plan, "sampling", None) != "poisson":
        raise ValueError(
            "`plan` must be a Plan with sampling='poisson'. Received: "
            f"plan={plan!r}. Make one, or call fit(x, y, batch_size) for "
            "shuffled batches."
        )
    check_seed(seed)
    return PoissonBatches(x, y, plan, sample_weight, seed)
