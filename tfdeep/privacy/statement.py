"""The paragraph that says what a private training run guarantees."""

import math
from typing import Any

from tfdeep.report import Report

POISSON = """\
Each update sums the gradients of a Poisson sample of the {num_examples:,} \
training examples, drawn afresh with probability {rate:.3g} each \
({batch_size:,} expected), divides by {batch_size:,} and adds Gaussian noise of \
{noise_multiplier:g} times the clip norm. There are {steps:,} updates. Samples \
are padded to a fixed number of rows; none is cut short.
Neighbouring relation: one example added or removed."""

SHUFFLED = """\
Each update sums the gradients of {batch_size:,} of the {num_examples:,} \
training examples and adds Gaussian noise of {noise_multiplier:g} times the \
clip norm. There are {steps:,} updates.
Neighbouring relation: one example replaced by another, which may move a sum \
by twice the clip norm; the number of examples is public.
Sampling: this epsilon holds for batches of a fixed size that are each drawn \
afresh without replacement. Batches cut from shuffled passes over the data \
({epochs:,} of them) are not; assuming nothing about the order, epsilon is \
{passes:.3g}. That a data set or stream is shuffled, and of the stated size, is \
the word of whoever made it."""

NOT_COVERED = """\
Not covered: more than one example of the same person; what else was computed \
from the data, such as a search for hyper-parameters, the choice of a \
checkpoint, losses and metrics on training data, and anything about validation \
data; rounding of the noise to floating-point numbers; random numbers that are \
not of cryptographic quality; time, memory and other side channels; a data set \
whose size or preprocessing (such as its mean) is itself secret."""


class Statement(Report, str):
    """What is guaranteed, in words: a string that is a report, too.

    `plot` draws how epsilon grows with the updates of the plan.

    Attributes:
        plan: the `Plan`, or `None` where nothing is claimed.
        seeded: boolean, whether random numbers came from a known seed.
    """

    plan: Any
    seeded: bool

    def __new__(cls, text: str, plan=None, seeded: bool = False):
        statement = super().__new__(cls, text)
        statement.plan, statement.seeded = plan, seeded
        return statement

    def __str__(self) -> str:
        return str.__str__(self)

    def _content(self) -> dict[str, Any]:
        plan = self.plan
        return {
            "statement": str(self),
            "seeded": self.seeded,
            "epsilon": None if plan is None else plan.epsilon,
            "delta": None if plan is None else plan.delta,
            "plan": None if plan is None else plan.get_config(),
        }

    def _figure(self) -> Any:
        """Epsilon at ten numbers of updates."""
        from tfdeep.visualization.budget import budget

        if self.plan is None or not math.isfinite(self.plan.epsilon):
            return None
        last = self.plan.steps
        steps = sorted({max(1, last * part // 10) for part in range(1, 11)})
        epsilons = [self.plan.epsilon_after(each) for each in steps]
        return budget(steps, epsilons, f"delta = {self.plan.delta:g}")


def plan_statement(plan, seeded: bool = False) -> Statement:
    """The guarantee of a plan in words; see `Plan.statement`."""
    parts = [headline(plan), mechanism(plan), accounting(plan), NOT_COVERED]
    if seeded:
        parts.insert(
            0,
            "UNFIT FOR RELEASE: random numbers are from a fixed seed. Who "
            "knows the seed can take the noise off again. What follows would "
            "hold for fresh random numbers.",
        )
    return Statement("\n".join(parts), plan, seeded)


def headline(plan) -> str:
    """Epsilon, delta and the unit of privacy."""
    if not math.isfinite(plan.epsilon):
        return (
            "This training is NOT differentially private: there is no noise, "
            "or too little for any finite epsilon."
        )
    return (
        f"The trained weights, and all weights on the way, are "
        f"({plan.epsilon:.4g}, {plan.delta:g})-differentially private by "
        f"DP-SGD with per-example clipping. Unit of privacy: one training "
        f"example."
    )


def mechanism(plan) -> str:
    """Updates, neighbouring relation and sampling."""
    shared = {
        "num_examples": plan.num_examples,
        "batch_size": plan.batch_size,
        "noise_multiplier": plan.noise_multiplier,
        "steps": plan.steps,
    }
    if plan.sampling == "poisson":
        return POISSON.format(rate=plan.sampling_probability, **shared)
    passes = plan.epsilon_of_passes()
    return SHUFFLED.format(epochs=plan.epochs, passes=passes, **shared)


def accounting(plan) -> str:
    """Who computed epsilon."""
    name = {"pld": "privacy loss distributions", "rdp": "Renyi divergences"}
    return (
        f"Accounting: {name[plan.accountant]} (dp-accounting), every "
        "approximation to the safe side. Changing batch size, number of "
        "updates or noise during training voids it."
    )
