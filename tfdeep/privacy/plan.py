"""What a private training run is allowed to do, decided before it starts."""

import math
import warnings
from dataclasses import dataclass, field

import keras

from tfdeep.checks import check_choice, check_number, check_positive
from tfdeep.privacy.accounting import (
    Updates,
    epsilon_of,
    interval_for,
    noise_for,
    passes_epsilon,
)
from tfdeep.privacy.statement import Statement, plan_statement

METHODS = {"poisson": ("pld", "rdp"), "shuffled": ("rdp",)}


@keras.saving.register_keras_serializable(package="tfdeep")
@dataclass(frozen=True)
class Plan:
    """A budget of privacy, and the noise that keeps a training run within it.

    Say how many examples there are, how large batches are, how many updates
    will be made and which delta is allowed; and either the epsilon that may be
    spent, or the noise. The other one is computed. Give the plan to
    `PrivateModel`, which stops before the update that would exceed it, and
    print it for the paragraph that a paper needs.

    With `sampling="poisson"` an update takes each example with probability

        q = batch_size / num_examples,

    the sampling that the accountant assumes; `privacy.poisson_batches` draws
    it. Neighbouring data sets differ by one example more or less. With
    `sampling="shuffled"` batches have a fixed size and neighbours replace one
    example: a replaced example moves the sum of clipped gradients twice as
    far, so a given noise gives a much higher epsilon. It is the price of an
    ordinary `fit(x, y, batch_size)`; see the statement for what is assumed
    there.

    Reference:
        Abadi et al., "Deep Learning with Differential Privacy", 2016;
        Koskela et al., "Computing Tight Differential Privacy Guarantees Using
        FFT", 2020 (`"pld"`); Mironov et al., "Renyi Differential Privacy of
        the Sampled Gaussian Mechanism", 2019 (`"rdp"`); Wang et al.,
        "Subsampled Renyi Differential Privacy and Analytical Moments
        Accountant", 2019, theorem 27 (`"shuffled"`). All as computed by
        dp-accounting. Deviations, each to the safe side: losses are rounded
        up to a grid, a computed noise is rounded up to four digits.

    Args:
        num_examples: integer, the number of training examples. It counts as
            public.
        batch_size: integer, the size of a batch; under Poisson sampling the
            expected size. Gradients are divided by it.
        steps: integer, the number of updates.
        delta: float in (0, 1), the chance that the guarantee fails; usually
            below `1 / num_examples`.
        epsilon: float above 0, the budget; or
        noise_multiplier: float of at least 0, the standard deviation of the
            noise over the clip norm. 0 trains without privacy.
        accountant: `"pld"`, privacy loss distributions, the tighter one, or
            `"rdp"`, Renyi's. `None` takes `"pld"` for Poisson sampling and
            `"rdp"` for shuffled batches, the only one that knows them.
        sampling: `"poisson"` or `"shuffled"`.

    Raises:
        ValueError: for arguments out of range, for both or neither of epsilon
            and noise, and for an epsilon out of reach.
        ImportError: without dp-accounting.

    Example:
        >>> from tfdeep import privacy
        >>> plan = privacy.Plan(60_000, 256, 14_062, 1e-5, noise_multiplier=1.1)
        >>> round(plan.epsilon, 2)
        2.38
        >>> round(plan.epsilon_after(1_000), 2)
        0.6
        >>> plan = privacy.Plan(60_000, 256, 14_062, 1e-5, epsilon=1)
        >>> plan.noise_multiplier, plan.epsilon_after(plan.steps) <= 1
        (2.027, True)
    """

    num_examples: int
    batch_size: int
    steps: int
    delta: float
    epsilon: float | None = None
    noise_multiplier: float | None = None
    accountant: str | None = None
    sampling: str = "poisson"
    asked: str = field(init=False, repr=False, compare=False, default="")
    interval: float = field(init=False, repr=False, compare=False, default=0.0)

    def __post_init__(self):
        self._check()
        self._set(accountant=self.accountant or METHODS[self.sampling][0])
        if self.noise_multiplier is None:
            noise = noise_for(*self._shared(self.epsilon), self._method)
            self._set(noise_multiplier=noise, asked="epsilon")
            self._set(interval=interval_for(self.epsilon))
            return
        sigma = float(self.noise_multiplier)
        self._set(noise_multiplier=sigma, asked="noise_multiplier")
        if self._method == "pld" and sigma:
            size, steps = (self.num_examples, self.batch_size), self.steps
            rough = Updates(*size, steps, self.delta, "rdp").epsilon(sigma)
            self._set(interval=interval_for(rough))
        self._set(epsilon=self.epsilon_after(self.steps))

    def _check(self):
        for name in ("num_examples", "batch_size", "steps"):
            check_positive(name, getattr(self, name))
            self._set(**{name: int(getattr(self, name))})
        check_choice("sampling", self.sampling, METHODS)
        if self.batch_size > self.num_examples:
            raise ValueError(
                "`batch_size` must be at most the number of examples, "
                f"{self.num_examples}. Received: batch_size="
                f"{self.batch_size}. Pass a smaller one."
            )
        check_number("delta", self.delta, example=1e-5)
        if not 0 < self.delta < 1:
            raise ValueError(
                "`delta` must lie between 0 and 1. Received: "
                f"delta={self.delta}. Pass less than one over the number of "
                "examples, such as 1e-5."
            )
        self._set(delta=float(self.delta))
        if self.delta * self.num_examples >= 1:
            warnings.warn(
                "`delta` should be far below one over the number of examples: "
                "a mechanism that publishes one of them would keep this one. "
                f"Received: delta={self.delta}, "
                f"num_examples={self.num_examples}.",
                stacklevel=4,
            )
        self._check_budget()
        self._check_accountant()

    def _check_budget(self):
        if (self.epsilon is None) == (self.noise_multiplier is None):
            raise ValueError(
                "Exactly one of `epsilon` and `noise_multiplier` must be "
                "given, as one decides the other. Received: "
                f"epsilon={self.epsilon}, "
                f"noise_multiplier={self.noise_multiplier}. Leave one out, or "
                "give the other."
            )
        if self.noise_multiplier is not None:
            check_number("noise_multiplier", self.noise_multiplier, 0, 1.1)
            return
        check_number("epsilon", self.epsilon, example=3)
        if not self.epsilon > 0:
            raise ValueError(
                "`epsilon` must be above 0: no training has an epsilon of 0. "
                f"Received: epsilon={self.epsilon}. Pass for example 3."
            )
        self._set(epsilon=float(self.epsilon))

    def _check_accountant(self):
        check_choice("accountant", self.accountant, ("pld", "rdp", None))
        if self.accountant not in (None, *METHODS[self.sampling]):
            raise ValueError(
                "`accountant` must be 'rdp' for shuffled batches: privacy "
                "loss distributions are known exactly for Poisson sampling "
                f"only. Received: accountant={self.accountant!r}. Pass that, "
                "or sampling='poisson' with `poisson_batches`."
            )

    def _set(self, **values):
        for name, value in values.items():
            object.__setattr__(self, name, value)

    @property
    def _method(self) -> str:
        if self.sampling == "shuffled":
            return "fixed-size"
        return self.accountant or "pld"

    def _shared(self, value):
        return self.num_examples, self.batch_size, value, self.steps, self.delta

    @property
    def sampling_probability(self) -> float:
        """The part of the examples that is in a batch."""
        return self.batch_size / self.num_examples

    @property
    def padded_batch_size(self) -> int:
        """The rows of a padded Poisson batch, B + 5 sqrt(B).

        Rounded up to a multiple of 8, and never more than all examples.
        """
        rows = self.batch_size + 5 * math.sqrt(self.batch_size)
        return min(8 * math.ceil(rows / 8), self.num_examples)

    @property
    def steps_per_epoch(self) -> int:
        """The updates in which each example is drawn once, on average."""
        return math.ceil(self.num_examples / self.batch_size)

    @property
    def epochs(self) -> int:
        """The epochs that the planned updates fill; the last may be partial."""
        return math.ceil(self.steps / self.steps_per_epoch)

    def epsilon_after(self, steps: int) -> float:
        """The epsilon spent by the first so many updates."""
        if steps != 0:
            check_positive("steps", steps)
        shared = self.num_examples, self.batch_size, self.noise_multiplier
        return epsilon_of(
            *shared, int(steps), self.delta, self._method, self.interval or None
        )

    def epsilon_of_passes(self) -> float:
        """Epsilon of the planned updates if every epoch is one shuffle.

        It assumes nothing about the order in which examples come, only that
        each comes once an epoch. Neighbours replace one example.
        """
        return passes_epsilon(self.epochs, self.noise_multiplier, self.delta)

    def statement(self, seeded: bool = False) -> Statement:
        """The guarantee in words, and what it does not cover.

        It is a string with the methods of a report: `to_dict`, `save`, and
        `plot`, which draws epsilon by the number of updates.

        Args:
            seeded: boolean, whether batches or noise were drawn from a known
                seed, which makes the result unfit for release.
        """
        return plan_statement(self, seeded)

    def __str__(self) -> str:
        return str(self.statement())

    def get_config(self) -> dict:
        """The arguments, and the computed noise so that it stays the same."""
        names = ("num_examples", "batch_size", "steps", "delta", "sampling")
        config = {name: getattr(self, name) for name in names}
        config["accountant"] = self.accountant
        config["noise_multiplier"] = self.noise_multiplier
        config["epsilon"] = self.epsilon if self.asked == "epsilon" else None
        return config

    @classmethod
    def from_config(cls, config: dict) -> "Plan":
        """The plan of a config; a noise too weak for its epsilon is refused."""
        config = dict(config)
        epsilon = config.pop("epsilon", None)
        if epsilon is None or config.get("noise_multiplier") is None:
            return cls(epsilon=epsilon, **config)
        plan = cls(**config)
        plan._set(epsilon=float(epsilon), asked="epsilon")
        plan._set(interval=interval_for(epsilon))
        spent = plan.epsilon_after(plan.steps)
        if spent > epsilon * (1 + 1e-3):
            raise ValueError(
                "The noise of a config must keep the run within its epsilon, "
                f"{epsilon}. Received: a noise multiplier of "
                f"{plan.noise_multiplier}, which spends {spent:.3g}. Give one "
                "of the two, and the other is computed."
            )
        return plan
