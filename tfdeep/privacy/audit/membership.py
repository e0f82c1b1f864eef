"""Who can tell from the loss of an example whether it was trained on."""

import math

import numpy as np

from tfdeep.checks import check_number
from tfdeep.privacy.audit.report import AuditReport, Finding
from tfdeep.privacy.audit.statistics import (
    check_confidence,
    quantile,
    rate_interval,
)


def attack_area(member_losses, other_losses, confidence: float = 0.95):
    """The area under the curve of the attack, and its interval.

    The probability that a member has a lower loss than another example; 0.5
    is guessing.

    Reference:
        Hanley, McNeil, "The Meaning and Use of the Area under a Receiver
        Operating Characteristic (ROC) Curve", 1982, for the interval. No
        deviation.

    Args:
        member_losses: (n,) losses of examples that were trained on.
        other_losses: (m,) losses of others from the same source.
        confidence: that of the interval.

    Returns:
        `(area, (low, high))`.

    Example:
        >>> attack_area([0.1, 0.2], [0.3, 0.4])[0]
        1.0
    """
    members, others = _losses(member_losses, other_losses, confidence)
    below, equal = _places(members, others)
    area = float((below.sum() + equal.sum() / 2) / (len(members) * len(others)))
    q1, q2 = area / (2 - area), 2 * area**2 / (1 + area)
    n, m = len(members), len(others)
    variance = area * (1 - area) + (n - 1) * (q1 - area**2)
    variance = (variance + (m - 1) * (q2 - area**2)) / (n * m)
    reach = quantile(confidence) * math.sqrt(max(variance, 0.0))
    return area, (max(0.0, area - reach), min(1.0, area + reach))


def _places(members, others):
    """Of each member, how many others have a higher and an equal loss."""
    ordered = np.sort(others)
    right = np.searchsorted(ordered, members, "right")
    left = np.searchsorted(ordered, members, "left")
    return len(others) - right, right - left


def attack_rates(
    member_losses,
    other_losses,
    confidence: float = 0.95,
    seed: int | None = 0,
):
    """The rates of the attack at a threshold that was chosen beforehand.

    The threshold with the largest difference of the rates on one half of the
    examples is applied to the other half, so that nothing is overstated.

    Args:
        member_losses: (n,) losses of examples that were trained on.
        other_losses: (m,) losses of others from the same source.
        confidence: that of both intervals together.
        seed: of the halves.

    Returns:
        A dictionary with `threshold`; the rates `members` and `others` that
        fall below it; and `members_interval` and `others_interval`.

    Example:
        >>> losses = [0.1] * 20, [0.9] * 20
        >>> rates = attack_rates(*losses)
        >>> rates["members"], rates["others"]
        (1.0, 0.0)
    """
    members, others = _losses(member_losses, other_losses, confidence, 4)
    rng = np.random.default_rng(seed)
    chosen = [np.array_split(rng.permutation(x), 2) for x in (members, others)]
    threshold = _threshold(chosen[0][0], chosen[1][0])
    share = 1 - (1 - confidence) / 2
    found: dict = {"threshold": threshold}
    for name, (_, half) in zip(("members", "others"), chosen, strict=True):
        hits = int((half <= threshold).sum())
        found[name] = hits / len(half)
        found[f"{name}_interval"] = rate_interval(hits, len(half), share)
    return found


def _threshold(members, others) -> float:
    """The loss that best tells the two apart."""
    places = np.unique(np.concatenate([members, others]))
    at = [
        np.searchsorted(np.sort(x), places, "right") for x in (members, others)
    ]
    return float(places[np.argmax(at[0] / len(members) - at[1] / len(others))])


def membership(
    member_losses,
    other_losses,
    delta: float = 0.0,
    claim: float | None = None,
    confidence: float = 0.95,
    seed: int | None = 0,
) -> AuditReport:
    """Attack a trained model by the losses of its training examples.

    The oldest attack and the first thing to look at: it needs nothing but
    losses. It finds overfitting, not every leak.

    Reference:
        Yeom, Giacomelli, Fredrikson, Jha, "Privacy Risk in Machine Learning",
        2018, section 3.2; the bound on epsilon is Kairouz, Oh, Viswanath,
        "The Composition Theorem for Differential Privacy", 2015, theorem 2.1.
        Deviation: the threshold is found on half of the examples.

    Args:
        member_losses: (n,) losses of examples that were trained on.
        other_losses: (m,) losses of others from the same source.
        delta: the delta of the guarantee.
        claim: the epsilon that is claimed; the check fails above it.
        confidence: that of each interval and of the bound.
        seed: of the halves.

    Raises:
        ValueError: if there are fewer than four losses of either kind, or
            some are not numbers.

    Example:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> losses = rng.exponential(size=(2, 500))
        >>> membership(*losses, claim=1.0, delta=1e-5).passed
        True
    """
    check_number("delta", delta, 0.0, 1e-5)
    area, interval = attack_area(member_losses, other_losses, confidence)
    rates = attack_rates(member_losses, other_losses, confidence, seed)
    low, high = rates["members_interval"], rates["others_interval"]
    bound = _epsilon(low, high, delta)
    findings = (
        Finding("attack area", None, area, 0.5, interval),
        Finding(
            "attack advantage",
            None,
            rates["members"] - rates["others"],
            0.0,
            (low[0] - high[1], low[1] - high[0]),
        ),
        Finding(
            "epsilon from losses",
            None if claim is None else bound <= claim,
            bound,
            claim,
            (bound, math.inf),
            note=f"lower bound at confidence {confidence:g}",
        ),
    )
    return AuditReport(findings, "loss-threshold membership inference")


def _epsilon(members, others, delta: float) -> float:
    """From either rate: P[in | member] <= e^eps P[in | other] + delta."""
    pairs = [(members[0], others[1]), (1 - others[1], 1 - members[0])]
    bounds = [
        math.log((hit - delta) / false)
        for hit, false in pairs
        if hit > delta and false > 0
    ]
    return max([0.0, *bounds])


def _losses(member_losses, other_losses, confidence, least: int = 2):
    check_confidence(confidence)
    found = [np.asarray(x, "float64") for x in (member_losses, other_losses)]
    for name, losses in zip(("member", "other"), found, strict=True):
        wrong = losses.ndim != 1 or len(losses) < least
        if wrong or np.isnan(losses).any():
            raise ValueError(
                f"`{name}_losses` must be a number for each of at least "
                f"{least} examples. Received: shape {losses.shape}. Pass "
                "losses of a function with reduction='none'."
            )
    return found
