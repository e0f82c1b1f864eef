"""A lower bound on epsilon from a single training run.

Each of m canaries takes part or not, by a fair coin of its own. Afterwards
the auditor guesses the coins of those r whose scores are most telling. Were
the training (epsilon, delta)-private, the number of right guesses would
exceed v with at most the probability

    P[W >= v] + 2 m delta max_i P[v > W >= v - i] / i,

with W binomial of r guesses, each right with e^eps / (1 + e^eps). An epsilon
for which that is small is refuted.

Reference: Steinke, Nasr, Jagielski, "Privacy Auditing with One (1) Training
Run", 2023, theorem 5.2. Where several r are tried the probability is shared
among them; the paper fixes one.
"""

from collections.abc import Callable

import numpy as np

from tfdeep.checks import check_number, check_positive
from tfdeep.privacy.audit.report import AuditReport, Finding
from tfdeep.privacy.audit.statistics import (
    bisect,
    check_confidence,
    log_binomial,
)

LARGEST = 50.0
_SHARES = (1 / 64, 1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2, 1)


def chance(
    correct: int, guesses: int, canaries: int, epsilon: float, delta: float
) -> float:
    """At most how probable so many right guesses were under privacy.

    Args:
        correct: the right guesses, v.
        guesses: all guesses, r.
        canaries: those that had a coin, m.
        epsilon: the epsilon to be refuted.
        delta: the delta it is meant with.

    Example:
        >>> chance(5, 5, 5, 0.0, 0.0)  # Five coins guessed: 2^-5.
        0.03125
    """
    right = 1 / (1 + np.exp(-epsilon))
    mass = np.exp(log_binomial(guesses, right))
    beyond = mass[correct:].sum()
    below = np.cumsum(mass[:correct][::-1])
    steps = np.arange(1, correct + 1)
    alpha = np.max(below / steps) if correct else 0.0
    return float(min(1.0, beyond + 2 * canaries * delta * alpha))


def epsilon_of_guesses(
    correct: int,
    guesses: int,
    canaries: int,
    delta: float,
    confidence: float = 0.95,
) -> float:
    """The largest epsilon that so many right guesses refute.

    Args:
        correct: the right guesses.
        guesses: all guesses, a number chosen before the scores were seen.
        canaries: those that had a coin.
        delta: the delta of the guarantee.
        confidence: how sure the bound is to be.

    Example:
        >>> round(epsilon_of_guesses(95, 100, 1000, 1e-5), 2)
        2.17
    """
    doubt = 1 - confidence

    def refuted(epsilon):
        return chance(correct, guesses, canaries, epsilon, delta) < doubt

    return bisect(refuted, 0.0, LARGEST) if refuted(0.0) else 0.0


def epsilon_lower_bound(
    scores,
    included,
    delta: float,
    confidence: float = 0.95,
    guesses: int | None = None,
) -> float:
    """The lower bound on epsilon from scores of canaries.

    Args:
        scores: (m,) numbers, higher where a canary seems to have taken part.
        included: (m,) booleans, whether it did, each by a fair coin.
        delta: the delta of the guarantee.
        confidence: the probability that the bound holds.
        guesses: how many coins to guess, half of them from either end of the
            scores. Chosen before they are seen; by default several numbers
            are tried, and the doubt is shared among them.

    Raises:
        ValueError: if the arrays do not belong together, or a number is out
            of range.

    Example:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> included = rng.random(1000) < 0.5
        >>> epsilon_lower_bound(rng.normal(size=1000), included, 1e-5) < 0.5
        True
    """
    scores, included = _check(scores, included, delta, confidence)
    count = len(scores)
    sizes = [guesses] if guesses else _sizes(count)
    if max(sizes) > count:
        raise ValueError(
            f"`guesses` must be at most {count}, the number of canaries. "
            f"Received: guesses={guesses}"
        )
    order = np.argsort(-scores, kind="stable")
    doubt = (1 - confidence) / len(sizes)
    return max(
        epsilon_of_guesses(
            _correct(order, included, size), size, count, delta, 1 - doubt
        )
        for size in sizes
    )


def _sizes(count: int) -> list[int]:
    return sorted({max(1, int(count * share)) for share in _SHARES})


def _correct(order, included, guesses: int) -> int:
    """Right guesses: the highest scores in, the lowest out."""
    high = (guesses + 1) // 2
    low = guesses - high
    right = included[order[:high]].sum()
    return int(right + (low - included[order[len(order) - low :]].sum()))


def _check(scores, included, delta, confidence):
    check_number("delta", delta, 0.0, 1e-5)
    check_confidence(confidence)
    scores = np.asarray(scores, "float64")
    included = np.asarray(included)
    same = scores.shape == included.shape and scores.ndim == 1
    if not same or not len(scores) or included.dtype != bool:
        raise ValueError(
            "`scores` and `included` must be a number and a boolean for each "
            f"canary. Received: scores of shape {scores.shape}, and included "
            f"of {included.dtype} and shape {included.shape}. Pass two arrays "
            "(m,)."
        )
    # A score that is not a number says nothing; an infinite one does.
    return np.where(np.isnan(scores), -np.inf, scores), included


def one_run(
    train: Callable,
    canaries: int,
    delta: float,
    claim: float | None = None,
    confidence: float = 0.95,
    seed: int | None = None,
) -> AuditReport:
    """Audit a whole training run, whatever it does.

    Use it where training is slow and its code long: one run is enough, and
    nothing of it need be known. The bound cannot exceed what the scores give
    away; many canaries and white-box scores give a bound near the claim.

    Reference:
        Steinke, Nasr, Jagielski, "Privacy Auditing with One (1) Training
        Run", 2023. Deviation: see `epsilon_lower_bound`.

    Args:
        train: `train(included) -> scores`: trains with the canaries for which
            the boolean is true and, of all canaries, returns a number that is
            higher if it seems to have taken part, such as minus its loss.
        canaries: how many there are, m.
        delta: the delta of the guarantee.
        claim: the epsilon that is claimed; the check fails above it.
        confidence: the probability that the bound holds.
        seed: of the coins; by default they cannot be predicted.

    Example:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> train = lambda included: included + rng.normal(size=500)
        >>> one_run(train, 500, 1e-5, claim=4.38, seed=0).passed
        True
    """
    check_positive("canaries", canaries)
    included = np.random.default_rng(seed).random(canaries) < 0.5
    bound = epsilon_lower_bound(train(included), included, delta, confidence)
    finding = Finding(
        "epsilon from one run",
        None if claim is None else bound <= claim,
        bound,
        claim,
        (bound, np.inf),
        note=f"lower bound at confidence {confidence:g}, {canaries} canaries",
    )
    return AuditReport((finding,), "one-run audit")
