"""What a private model remembers from batch to batch, and what files hold.

counts      of updates and batches: in files; they never fall
window      clipped sums that wait for their noise: in no file
mechanism   what was released: in files; the noise of a tree: in none
averages    of the weights: in files
"""

import json

import keras
import numpy as np
from keras import ops

from tfdeep.privacy.per_example.purity import NotPrivateError

COUNTS = ("updates_taken", "batches_seen", "batches_refused")
TERMS = "terms"


class Held(keras.random.SeedGenerator):
    """A variable of the training step that is no weight.

    Keras hands the states of random streams to a step beside the weights.
    They are in `variables`, and neither in `weights` and `get_weights` nor
    in a file. This is such a state that no number is drawn from.

    Args:
        value: array, what it begins with.
        name: string.
    """

    def __init__(self, value, name: str):
        value = np.asarray(value)
        self.name = name
        self.state = keras.Variable(
            lambda shape, dtype: ops.cast(value, dtype),
            shape=value.shape,
            dtype=str(value.dtype),
            trainable=False,
            autocast=False,
            aggregation="only_first_replica",
            name=name,
        )

    def next(self, ordered=True):
        raise TypeError(f"{self.name} is no random stream.")


class Memory(keras.layers.Layer):
    """The state of a private model's updates.

    It is never built, and so may get variables at any time: a mechanism, an
    optimizer or trainable weights may come with a later `compile`.

    Attributes:
        from_elsewhere: whether a file brought updates of another process.
        terms: what updates are accounted by, as text: plan and mechanism.
        told: whether the last file said how many updates there were.
    """

    def __init__(self):
        super().__init__(name="memory", autocast=False)
        for name in COUNTS:
            setattr(self, name, Held(np.zeros((), "int32"), name))
        # It says exactly how many of the examples there are.
        zero = np.zeros((), "int32")
        self.non_finite_examples = Held(zero, "non_finite_examples")
        self.terms = ""
        self.told = False
        self._highest = 0
        self._refusal = ""
        self.waiting: list[Held] = []
        self.hidden: list[Held] = []
        self.open: list = []
        self.from_elsewhere = False
        self._secret = False
        self._averages: dict = {}  # By the identity of their variable.

    @property
    def has_lost_noise(self) -> bool:
        """Whether noise that later updates build on was in no file."""
        return self._secret and self.from_elsewhere

    def count(self, name: str) -> int:
        """One of the counts, as a number."""
        return int(as_array(getattr(self, name).state))

    def counts(self) -> dict[str, int]:
        """All of them, by name."""
        return {name: self.count(name) for name in COUNTS}

    @property
    def mechanism(self) -> list:
        """The variables that hold the state of the mechanism."""
        return [each.state for each in self.hidden] or self.open

    @property
    def window(self) -> list:
        """The variables that hold the sums of an update so far."""
        return [each.state for each in self.waiting]

    def hold_window(self, sums: list) -> None:
        """Make room for sums of several batches, which begin as these are."""
        wanted = [(each.shape, str(each.dtype)) for each in sums]
        if [(tuple(v.shape), v.dtype) for v in self.window] != wanted:
            self.waiting = [
                Held(each, f"waiting_{index}")
                for index, each in enumerate(sums)
            ]
        self.empty_window()

    def empty_window(self) -> None:
        """Forget the sums that wait for an update."""
        for variable in self.window:
            variable.assign(np.zeros(variable.shape, variable.dtype))

    def hold_mechanism(self, values: list, secret: bool) -> None:
        """Make variables of these values; keep those of the same shapes.

        Args:
            values: arrays, what the mechanism's state begins with.
            secret: whether no file may hold them.
        """
        shapes = [tuple(value.shape) for value in values]
        old = [tuple(each.shape) for each in self.mechanism]
        if old == shapes and self._secret == secret:
            return
        if old:
            raise ValueError(
                f"The state of the mechanism must keep its shapes, {old}: what "
                "was released so far belongs to it. Received: a mechanism "
                f"whose state has shapes {shapes}. Make a new PrivateModel."
            )
        self._secret = secret
        names = [f"state_{index}" for index in range(len(values))]
        if secret:
            self.hidden = list(map(Held, values, names))
        else:
            self.open = list(map(self.kept, values, names))

    def kept(self, value, name: str, dtype: str = "float32"):
        """A weight that is not trained, the same on all devices."""
        return self.add_weight(
            shape=tuple(getattr(value, "shape", ())),
            initializer=lambda shape, dtype: ops.cast(value, dtype),
            dtype=dtype,
            trainable=False,
            autocast=False,
            aggregation="only_first_replica",
            name=name,
        )

    def averages_of(self, variables: list) -> list:
        """The averages of these variables, made where there are none yet."""
        for variable in variables:
            if id(variable) not in self._averages:
                number = len(self._averages)
                average = self.kept(
                    as_array(variable),
                    f"average_{number}",
                    keras.backend.standardize_dtype(variable.dtype),
                )
                self._averages[id(variable)] = average
        return [self._averages[id(variable)] for variable in variables]

    def save_own_variables(self, store):
        super().save_own_variables(store)
        for name, value in self.counts().items():
            store[name] = np.asarray(value)
        store[TERMS] = np.frombuffer(self.terms.encode(), "uint8")

    def load_own_variables(self, store):
        values = {key: np.asarray(store[key]) for key in store.keys()}
        if not values:  # Keras tries again elsewhere what was refused.
            raise NotPrivateError(self._refusal or "The file has no counts.")
        counts = {name: int(values.pop(name)) for name in COUNTS}
        if TERMS in values:
            self.check_terms(values.pop(TERMS).tobytes().decode(), counts)
        if len(values) > len(self.weights):
            # Files of before have the number of examples left out first.
            values = {str(int(key) - 1): v for key, v in values.items()}
            del values["-1"]
        self.take_counts(counts)
        super().load_own_variables(values)
        self.empty_window()
        self.told = True

    def check_terms(self, terms: str, counts: dict[str, int]) -> None:
        """Raise if updates of other terms would be counted as of these."""
        if terms and self.terms and counts["updates_taken"]:
            if json.loads(terms) != json.loads(self.terms):
                # Other weights may have been read before.
                self._refusal = (
                    "The updates of a file must have been made under the plan "
                    "and with the noise of the model, which accounts for them "
                    f"by these. Received: a file of {terms}, for a model of "
                    f"{self.terms}. Make the model with the plan of the file, "
                    "or load the weights into the base and account for both"
                )
                raise NotPrivateError(self._refusal)

    def check_not_put_back(self) -> None:
        """Raise if the count of updates has fallen since it was last seen."""
        if self._refusal:
            raise NotPrivateError(self._refusal)
        taken = self.count("updates_taken")
        if taken < self._highest:
            raise _put_back(f"{taken} updates, after {self._highest}")
        self._highest = taken

    def check_seen(self, before: int, batches: int) -> None:
        """Raise if fewer batches were counted than there were.

        Args:
            before: the count of batches before them.
            batches: how many there were at least.
        """
        seen = self.count("batches_seen")
        if seen < before + batches:
            raise _put_back(f"{seen} batches, after {before} and {batches}")

    def take_counts(self, counts: dict[str, int]) -> None:
        """Set counts of another model that are larger than those here."""
        taken = counts.get("updates_taken", 0)
        self.from_elsewhere |= taken > self.count("updates_taken")
        for name, value in counts.items():
            variable = getattr(self, name).state
            variable.assign(max(value, self.count(name)))


def as_array(variable):
    """A copy of a variable's values: JAX gives buffers away."""
    return ops.convert_to_numpy(ops.convert_to_tensor(variable)).copy()


def _put_back(what: str) -> NotPrivateError:
    return NotPrivateError(
        "The state of the model must not be put back by hand: its counts fell, "
        f"and its noise would be drawn again. Received: {what}. Restore "
        "weights by `set_weights` or a file, or make a new model"
    )


def terms_of(plan, mechanism) -> str:
    """By what updates are accounted for, as JSON."""
    terms = {
        "plan": plan and plan.get_config(),
        type(mechanism).__name__: _plain(mechanism.get_config()),
    }
    return json.dumps(terms, default=lambda value: type(value).__name__)


def _plain(config):
    """A configuration without what is another one in each process."""
    if isinstance(config, (list, tuple)):
        return [_plain(each) for each in config]
    if not isinstance(config, dict):
        return config
    return {
        name: _plain(value)
        for name, value in config.items()
        if name != "shared_object_id"
    }
