"""Claims about models that become lighter, with figures for each."""

from tests.recipes.figures import (
    HIGH,
    LITTLE_ABOVE_LOW,
    LOW,
    SCATTERED,
    named,
)


def slim(trained, pruned, tuned, left=(0.4, 0.5, 0.5)):
    """A net without sparsity, and one with it that ends at `tuned`."""
    return {
        "conv, no sparsity": {"trained_error": trained, "pruned_error": pruned},
        "conv, slimming": {
            "channels_left": left,
            "pruned_error": LOW,
            "test_error": tuned,
        },
    }


def smaller(error, seconds):
    """The tour's residual net errs in 0.05 and takes a second."""
    whole = {"parameters": (100,), "pass_cpu_seconds": (1.0,)}
    small = {"parameters": (50,), "pass_cpu_seconds": (seconds,)}
    return {
        "residual": {**whole, "test_error": (0.05,)},
        "residual, smaller": {**small, "test_error": (error,)},
    }


def criteria(
    taylor=LOW, random=HIGH, magnitude=HIGH, pearson=LOW, spearman=LOW
):
    """Errors at two shares of the work, of which the larger one counts."""
    errors = {"Taylor": taylor, "random": random, "magnitude": magnitude}
    found = {
        arm: {"pruned_error_0.4": HIGH, "pruned_error_0.7": values}
        for arm, values in errors.items()
    }
    found["Taylor"] |= {"pearson": pearson, "spearman": spearman}
    return found


LINEAR = ("all units", "plain, depth 2", "early, strength 1",
          "late, strength 1", "easy task, early, strength 1",
          "easy task, late, strength 1")  # fmt: skip
SHORT, LONG = (2.0, 2.0, 2.0), (8.0, 8.0, 8.0)


def linear(*errors, late=SHORT):
    """Errors of the nets, all but the first of a short path length."""
    found = named("test_error", LINEAR, *errors)
    lengths = (LONG, SHORT, SHORT, late, SHORT, SHORT)
    for arm, length in zip(LINEAR, lengths, strict=True):
        found[arm]["path_length"] = length
    return found


LIGHTER = [
    ("linearization", "shallow at little loss",
     linear(LOW, HIGH, HIGH, LITTLE_ABOVE_LOW, LOW, LOW),
     linear(LOW, LOW, LOW, HIGH, LOW, LOW),
     linear(LOW, LOW, LOW, LOW, LOW, LOW, late=LONG)),
    ("linearization", "late beats early",
     linear(LOW, LOW, HIGH, LOW, LOW, LOW),
     linear(LOW, HIGH, LOW, HIGH, LOW, LOW),
     linear(LOW, LOW, HIGH, SCATTERED, LOW, LOW)),
    ("linearization", "vanishes on an easy task",
     linear(LOW, LOW, HIGH, LOW, LOW, LOW),
     linear(LOW, LOW, HIGH, LOW, HIGH, LOW)),
    ("linearization", "beats plain nets",
     linear(LOW, HIGH, LOW, LOW, LOW, LOW),
     linear(LOW, LOW, HIGH, HIGH, LOW, LOW),
     linear(LOW, HIGH, LOW, SCATTERED, LOW, LOW)),
    ("tour", "smaller and as good", smaller(0.07, 0.8),
     smaller(0.09, 0.8), smaller(0.05, 0.95)),
    ("slimming", "half of the channels",
     slim(LOW, HIGH, LITTLE_ABOVE_LOW), slim(LOW, LOW, HIGH),
     slim(LOW, LOW, LOW, left=(0.6, 0.6, 0.6))),
    ("slimming", "sparsity is needed",
     slim(LOW, HIGH, LOW), slim(LOW, LOW, LOW), slim(LOW, SCATTERED, LOW)),
    ("taylor", "tracks the oracle",
     criteria(pearson=(0.97,), spearman=(0.96,)),
     criteria(pearson=(0.97,), spearman=(0.9,)),
     criteria(pearson=(0.9,), spearman=(0.97,))),
    ("taylor", "better than chance",
     criteria(LOW, HIGH, LOW), criteria(HIGH, LOW, HIGH),
     criteria(LOW, SCATTERED, HIGH)),
    ("taylor", "better than magnitude",
     criteria(LOW, LOW, HIGH), criteria(HIGH, HIGH, LOW),
     criteria(LOW, HIGH, SCATTERED)),
]  # fmt: skip
